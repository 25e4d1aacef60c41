"""What must hold of a queue. Q1 to Q5 of a step, Q6 of a state, Q7 to Q9 once faults stop."""

from __future__ import annotations

Q1, Q2, Q3, Q4, Q5, Q6, Q7, Q8, Q9 = (f"Q{number}" for number in range(1, 10))
Q2_LIVING = "Q2 living"

ALWAYS = (Q1, Q2, Q3, Q4, Q5)
IN_TIME = (*ALWAYS, Q2_LIVING, Q6)
"""While every waiter looks in time, and nothing is lost."""
LIVENESS = (Q7, Q8, Q9)

WORDS = {
    Q1: "whoever takes slots leaves enough of those it saw free for every living waiter before it that had not had its turn",
    Q2: "nobody is passed over before slots that it could have had were free for its patience",
    Q2_LIVING: "no living waiter that looks in time is passed over",
    Q3: "a ticket's expiry never falls",
    Q4: "a ticket keeps its place, and a newcomer stands behind all of its priority",
    Q5: "nobody deletes a ticket that was refreshed since it was seen",
    Q6: "who waits has a ticket that counts, and who does not wait any more has none",
    Q7: "once faults stop, every living waiter is served, each dead one costing one patience, or until its ticket expires",
    Q8: "once faults stop, every living waiter has its ticket again, where it was",
    Q9: "once faults stop, tickets of the dead are removed by who waits",
}
