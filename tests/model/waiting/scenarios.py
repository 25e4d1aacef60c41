"""The scenarios, each as small as possible for what it shows; and what breaks in them without each clause.

Invariants: data only.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.model.waiting.clauses import Clause
from tests.model.waiting.properties import ALWAYS, IN_TIME, Q1, Q2_LIVING, Q3, Q4, Q5, Q6, Q7, Q8, Q9
from tests.model.waiting.state import FOR_EVER, FREE, STRANGER, Scenario, Wish

SCENARIOS: dict[str, Scenario] = {
    "in order": Scenario(
        about="three waiters for one, two and one of two slots, all looking in time; the second one's clock is ahead",
        slots=(STRANGER, STRANGER),
        wishes=(Wish(), Wish(count=2, ahead=3), Wish()),
        first=2,
        last=3,
        watch=IN_TIME,
        sees=(
            "a claim commits, drop done",
            "a claim commits, no ticket",
            "a look, put done",
        ),
        least=2_600,
    ),
    "urgent": Scenario(
        about="an urgent one comes, and one who does not wait",
        slots=(STRANGER, STRANGER),
        wishes=(Wish(), Wish(priority=5), Wish(patient=False)),
        first=1,
        last=3,
        watch=IN_TIME,
        sees=(
            "a passer-by finds nothing",
            "a claim commits, drop done",
        ),
        least=5_400,
    ),
    "the dead": Scenario(
        about="of three waiters for two, one and one of two slots one dies, or two do",
        slots=(STRANGER, STRANGER),
        wishes=(Wish(count=2), Wish(), Wish()),
        first=3,
        last=4,
        deaths=2,
        watch=IN_TIME,
        sees=(
            "a waiter dies",
            "a claim commits, drop done",
        ),
        least=10_500,
    ),
    "two dead": Scenario(
        about="the first two of three waiters die, and their tickets expire soon",
        slots=(STRANGER,),
        wishes=(Wish(), Wish(), Wish(mortal=False)),
        first=3,
        last=2,
        refresh=1,
        deaths=2,
        releases=False,
        watch=ALWAYS,
        sees=("a waiter dies",),
        least=55,
    ),
    "a dead head": Scenario(
        about="the first of two waiters for one slot dies; its ticket expires long after",
        slots=(FREE,),
        wishes=(Wish(), Wish(), Wish(mortal=False)),
        first=3,
        last=7,
        refresh=8,
        deaths=1,
        watch=IN_TIME,
        sees=(
            "a waiter dies",
            "a claim commits, drop done",
        ),
        least=670,
    ),
    "late looks": Scenario(
        about="waiters that look late are passed over, and return to their places",
        slots=(FREE,),
        wishes=(Wish(), Wish()),
        first=2,
        last=7,
        naps=5,
        curious=True,
        watch=ALWAYS,
        sees=(
            "a claim commits, drop refused",
            "a look, put done",
        ),
        least=980,
    ),
    "late removals": Scenario(
        about="as before, and one removal of a ticket arrives late",
        slots=(FREE,),
        wishes=(Wish(), Wish()),
        first=2,
        last=8,
        naps=5,
        late=1,
        releases=False,
        curious=True,
        watch=ALWAYS,
        sees=(
            "a claim commits, drop late",
            "a late drop arrives",
            "a look, refresh refused, put again",
        ),
        least=2_000,
    ),
    "late requests": Scenario(
        about="a request about a ticket comes late, or twice; waiters give up",
        slots=(STRANGER,),
        wishes=(Wish(), Wish()),
        first=1,
        last=4,
        late=1,
        give_up=True,
        watch=ALWAYS,
        sees=(
            "a late put arrives",
            "a late refresh arrives",
            "a waiter gives up, drop done",
            "a waiter gives up, drop late",
        ),
        least=3_800,
    ),
    "lost requests": Scenario(
        about="requests about tickets are lost, or their answers are; waiters give up",
        slots=(STRANGER,),
        wishes=(Wish(), Wish()),
        first=1,
        last=5,
        losses=2,
        give_up=True,
        watch=IN_TIME,
        sees=(
            "a look, put lost",
            "a look, put done, not answered",
            "a look, refresh lost",
        ),
        least=5_400,
    ),
    "deletions": Scenario(
        about="others delete tickets",
        slots=(STRANGER,),
        wishes=(Wish(), Wish()),
        first=2,
        last=6,
        deletions=1,
        watch=ALWAYS,
        sees=(
            "someone deletes a ticket",
            "a look, put done",
        ),
        least=1_750,
    ),
    "never free": Scenario(
        about="a dead one wants two slots, one of which is never free",
        slots=(FOR_EVER, STRANGER),
        wishes=(Wish(count=2), Wish(), Wish()),
        first=3,
        last=4,
        deaths=1,
        watch=IN_TIME,
        sees=("a waiter dies",),
        least=680,
    ),
    "in order, larger": Scenario(
        about="as `in order`, for longer; two come",
        slots=(STRANGER, STRANGER),
        wishes=(Wish(ahead=2), Wish(count=2), Wish()),
        first=1,
        last=5,
        give_up=True,
        watch=IN_TIME,
        cap=1_000_000,
        large=True,
        sees=("a waiter gives up, drop done",),
        least=135_000,
    ),
    "late looks, larger": Scenario(
        about="as `late looks`, with three waiters of two slots",
        slots=(STRANGER, STRANGER),
        wishes=(Wish(), Wish(count=2), Wish()),
        first=3,
        last=5,
        naps=4,
        watch=ALWAYS,
        cap=1_000_000,
        large=True,
        sees=("a claim commits, drop done",),
    ),
    "all at once": Scenario(
        about="three waiters of one slot: one dies, one looks late, requests are lost and late, a ticket is deleted",
        slots=(STRANGER,),
        wishes=(Wish(), Wish(), Wish()),
        first=2,
        last=3,
        deaths=1,
        naps=1,
        losses=1,
        late=1,
        deletions=1,
        watch=ALWAYS,
        cap=2_000_000,
        large=True,
        sees=(
            "a waiter dies",
            "someone deletes a ticket",
        ),
    ),
}


@dataclass(frozen=True)
class Broken:
    """What breaks without a clause."""

    scenario: str
    broken: str


BREAKS: dict[Clause, Broken] = {
    Clause.PUT_NEW: Broken("late requests", Q3),
    Clause.REFRESH_THERE: Broken("late removals", Q8),
    Clause.REFRESH_NEVER_SHORTER: Broken("late removals", Q3),
    Clause.DROP_NOT_REFRESHED: Broken("late removals", Q5),
    Clause.LEFT_OVER: Broken("late looks", Q1),
    Clause.STRICT: Broken("never free", Q1),
    Clause.PATIENCE: Broken("the dead", Q2_LIVING),
    Clause.EXPIRED_SKIPPED: Broken("two dead", Q9),
    Clause.GLANCES: Broken("a dead head", Q7),
    Clause.ARRIVES_LAST: Broken("in order", Q4),
    Clause.REFRESHED: Broken("late looks", Q8),
    Clause.LIVES: Broken("lost requests", Q6),
    Clause.PUT_AGAIN: Broken("deletions", Q8),
    Clause.OLD_PLACE: Broken("deletions", Q4),
    Clause.LEAVES: Broken("lost requests", Q6),
    Clause.LEAVES_UNSURE: Broken("lost requests", Q6),
    Clause.PASSED_REMOVED: Broken("a dead head", Q7),
    Clause.DEAD_REMOVED: Broken("two dead", Q9),
}
