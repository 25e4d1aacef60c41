"""Values: each sentence holds of ours, and of the standard library's own dataclasses."""

import copy
import dataclasses
import inspect
import pickle
from dataclasses import FrozenInstanceError, field

import pytest

from ddb_lease import values
from ddb_lease.model import Timing


def made_by(dataclass, called):
    """The same classes, by either decorator; to be found under this name by whoever unpickles."""

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Bare:
        """Nothing."""

    @dataclass(frozen=True, slots=True, kw_only=True)
    class One:
        """One field."""

        only: object

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Many:
        """Fields of each kind; what has none may follow what has a default."""

        start: int = 0
        limit: int
        names: dict[str, int] = field(default_factory=dict)

        @property
        def end(self) -> int:
            """What is computed of them."""
            return self.start + self.limit

    @dataclass(frozen=True, slots=True)
    class Pair:
        """Fields by place."""

        low: float
        high: float = 1.0

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Checked:
        """It looks at what it is given."""

        seconds: float = 1.0

        def __post_init__(self):
            if self.seconds < 0:
                raise ValueError(f"{self.seconds} s")

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Derived(Checked):
        """It has a field more, and another default."""

        seconds: float = 2.0
        part: float = 0.5

        def __post_init__(self):
            Checked.__post_init__(self)

    classes = {made.__name__: made for made in (Bare, One, Many, Pair, Checked, Derived)}
    for name, made in classes.items():
        made.__qualname__ = f"{called}.{name}"
    return type(called, (), classes)


Ours = made_by(values.dataclass, "Ours")
Standard = made_by(dataclasses.dataclass, "Standard")


@pytest.fixture(params=[Ours, Standard], ids=lambda room: room.__name__)
def room(request):
    return request.param


def some_of(room):
    yield room.Bare()
    yield room.One(only=(1, 2))
    yield room.Many(limit=3, names={"a": 1})
    yield room.Pair(0.0, 2.0)
    yield room.Checked()
    yield room.Derived(part=0.25)


def test_a_value_holds_what_it_was_given_and_else_its_defaults(room):
    assert (room.Many(limit=3).start, room.Many(limit=3).limit, room.Many(limit=3).names) == (0, 3, {})
    assert (room.Pair(0.5).low, room.Pair(0.5).high) == (0.5, 1.0)
    assert (room.Derived().seconds, room.Derived().part) == (2.0, 0.5)
    assert room.Many(limit=3, start=2).end == 5


def test_each_value_gets_a_default_of_its_own_where_it_is_made(room):
    assert room.Many(limit=1).names is not room.Many(limit=1).names


@pytest.mark.parametrize(
    "wrong",
    [
        lambda room: room.Many(),
        lambda room: room.Many(3),
        lambda room: room.Many(limit=1, most=2),
        lambda room: room.Pair(),
        lambda room: room.Pair(1.0, 2.0, 3.0),
        lambda room: room.Bare(1),
    ],
)
def test_what_is_missing_or_unknown_is_refused(room, wrong):
    with pytest.raises(TypeError):
        wrong(room)


def test_the_constructor_says_what_it_takes(room):
    shown = inspect.signature(room.Many).parameters
    assert list(shown) == ["start", "limit", "names"]
    assert {parameter.kind for parameter in shown.values()} == {inspect.Parameter.KEYWORD_ONLY}
    assert shown["limit"].default is inspect.Parameter.empty
    assert (shown["start"].default, shown["start"].annotation) == (0, int)
    assert str(inspect.signature(room.Pair)) == "(low: float, high: float = 1.0) -> None"


def test_a_value_looks_at_what_it_is_given(room):
    for made in (room.Checked, room.Derived):
        with pytest.raises(ValueError, match="-1 s"):
            made(seconds=-1)


def test_values_are_equal_by_their_class_and_all_their_fields(room):
    for value, same in zip(some_of(room), some_of(room), strict=True):
        assert value == same
        assert (value != same) is False
    assert room.Many(limit=1) != room.Many(limit=2)
    assert room.Pair(1.0, 2.0) != (1.0, 2.0)
    assert room.Checked(seconds=2.0) != room.Derived()
    nan = float("nan")
    assert (room.One(only=1) == 1, room.One(only=nan) == room.One(only=float("nan"))) == (False, False)


def test_values_that_are_equal_have_one_hash_unless_they_hold_what_has_none(room):
    for value, same in zip(some_of(room), some_of(room), strict=True):
        if isinstance(value, room.Many):
            with pytest.raises(TypeError):
                hash(value)
        else:
            assert hash(value) == hash(same)
    assert len({room.One(only=1), room.One(only=1), room.One(only=2)}) == 2


def test_a_value_shows_how_it_is_made(room):
    name = room.__name__
    shown = [repr(value) for value in some_of(room)]
    assert shown == [
        f"{name}.Bare()",
        f"{name}.One(only=(1, 2))",
        f"{name}.Many(start=0, limit=3, names={{'a': 1}})",
        f"{name}.Pair(low=0.0, high=2.0)",
        f"{name}.Checked(seconds=1.0)",
        f"{name}.Derived(seconds=2.0, part=0.25)",
    ]


def test_a_value_that_holds_itself_shows_itself_all_the_same(room):
    box = []
    box.append(room.One(only=box))
    assert repr(box[0]) == f"{room.__name__}.One(only=[...])"


def test_a_value_never_changes(room):
    for value in some_of(room):
        for name in [each.name for each in dataclasses.fields(value)]:
            with pytest.raises(FrozenInstanceError, match=f"cannot assign to field '{name}'"):
                setattr(value, name, 1)
            with pytest.raises(FrozenInstanceError, match=f"cannot delete field '{name}'"):
                delattr(value, name)
        # Of a class that has slots, the standard library's own gets into trouble over its super() instead.
        with pytest.raises((FrozenInstanceError, TypeError)):
            value.unheard_of = 1
        with pytest.raises((FrozenInstanceError, TypeError)):
            del value.unheard_of


def test_a_value_has_slots_and_nothing_besides(room):
    assert room.Many.__slots__ == ("start", "limit", "names")
    assert not any(hasattr(value, "__dict__") for value in some_of(room))


def test_what_is_derived_from_a_value_by_hand_changes_no_field(room):
    class Named(room.Pair):
        pass

    named = Named(1.0)
    with pytest.raises(FrozenInstanceError):
        named.low = 2.0
    with pytest.raises(FrozenInstanceError):
        del named.low
    assert named != room.Pair(1.0)


def test_a_value_is_replaced_and_taken_apart(room):
    many = room.Many(limit=3, names={"a": 1})
    assert dataclasses.replace(many, start=2) == room.Many(start=2, limit=3, names={"a": 1})
    assert dataclasses.asdict(many) == {"start": 0, "limit": 3, "names": {"a": 1}}
    assert dataclasses.astuple(room.Pair(0.0)) == (0.0, 1.0)
    with pytest.raises(ValueError, match="-1 s"):
        dataclasses.replace(room.Checked(), seconds=-1)


def test_a_value_is_matched_by_keyword_and_by_place(room):
    match room.Many(limit=3):
        case room.Many(limit=2):
            found = None
        case room.Many(limit=limit, names=names):
            found = limit, names
    assert found == (3, {})
    match room.Pair(0.5):
        case room.Pair(low, high):
            found = low, high
    assert found == (0.5, 1.0)
    assert room.Many.__match_args__ == ()


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_value_travels(room, protocol):
    for value in some_of(room):
        assert pickle.loads(pickle.dumps(value, protocol)) == value


def test_a_value_is_copied(room):
    for value in some_of(room):
        assert copy.copy(value) == copy.deepcopy(value) == value
    many = room.Many(limit=1)
    assert copy.deepcopy(many).names is not many.names
    assert copy.copy(many).names is many.names


def test_what_is_derived_from_a_value_of_ours_must_be_frozen_too():
    @dataclasses.dataclass(frozen=True)
    class Wider(Timing):
        more: int = 1

    assert (Wider().more, Wider(grace=0.5).grace) == (1, 0.5)
    with pytest.raises(TypeError, match="frozen"):

        @dataclasses.dataclass
        class Softer(Timing):
            pass


def test_what_is_derived_from_a_value_of_ours_by_hand_may_have_more():
    class Named(Ours.Pair):
        pass

    named = Named(1.0)
    named.name = "a"
    assert named.name == "a"
    del named.name
    assert not hasattr(named, "name")


@pytest.mark.parametrize("flags", [{"frozen": False, "slots": True}, {"frozen": True, "slots": False}])
def test_ours_makes_nothing_but_values(flags):
    with pytest.raises(TypeError, match="for values"):
        values.dataclass(**flags)
