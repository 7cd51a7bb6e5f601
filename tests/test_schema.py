"""Trees from TOML and JSON become values, or every problem is told at once."""

import datetime as dt
import enum
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.schema import SchemaError, check, dump, found, parse, read_sound


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, slots=True)
class Circle:
    radius: float
    kind: Literal["circle"] = "circle"

    def __post_init__(self) -> None:
        if self.radius <= 0:
            raise ValueError("radius must be more than 0")


@dataclass(frozen=True, slots=True)
class Square:
    side: float
    kind: Literal["square"] = "square"


@dataclass(frozen=True, slots=True)
class Drawing:
    name: str
    shape: Circle | Square
    color: Color = Color.RED
    layers: tuple[int, ...] = ()
    size: tuple[int, int] | None = None
    visible: bool = True
    path: Path | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)
    amount: int | str = 0


TREE: dict[str, Any] = {"name": "a", "shape": {"kind": "circle", "radius": 2}}


def problems(tree: object, *, strict: bool = True) -> list[str]:
    with pytest.raises(SchemaError) as caught:
        parse(Drawing, tree, strict=strict)
    return caught.value.problems


def test_a_tree_becomes_a_value_with_its_defaults() -> None:
    assert parse(Drawing, TREE, strict=True) == Drawing("a", Circle(2.0))


def test_what_is_dumped_is_parsed_again() -> None:
    drawing = Drawing(
        "a", Square(1.5), Color.BLUE, (1, 2), (3, 4), visible=False, path=Path("x/y"), notes={"n": [1]}, amount="many"
    )
    assert parse(Drawing, dump(drawing), strict=True) == drawing


def test_an_unknown_key_is_a_problem_to_the_strict_and_nothing_to_the_tolerant() -> None:
    tree = {**TREE, "colour": "red"}
    assert problems(tree) == ["colour: unknown key; did you mean 'color'?"]
    assert parse(Drawing, tree, strict=False) == Drawing("a", Circle(2.0))


def test_every_problem_is_told_with_its_place() -> None:
    tree = {
        "shape": {"kind": "circle", "radius": "big"},
        "layers": [1, "two"],
        "size": [1],
        "visible": 1,
        "color": "rde",
    }
    assert problems(tree) == [
        "name: is missing",
        "shape.radius: expected a number, found 'big': no quotes, no unit",
        "color: expected one of red, blue, found 'rde'; did you mean 'red'?",
        "layers[1]: expected a whole number, found 'two': no quotes, no unit",
        "size: expected 2 values, found 1",
        "visible: expected true or false, found 1",
    ]


def test_a_value_that_refuses_itself_is_a_problem_too() -> None:
    assert problems({"name": "a", "shape": {"kind": "circle", "radius": -1}}) == ["shape: radius must be more than 0"]


@pytest.mark.parametrize(
    ("shape", "problem"),
    [
        ({"radius": 1}, "kind is missing"),
        ({"kind": "cirlce", "radius": 1}, "did you mean 'circle'"),
        ({"kind": ["circle"]}, "expected one of"),
        ([], "expected a table"),
        (None, "expected a table"),
    ],
)
def test_a_union_is_told_apart_by_its_kind(shape: object, problem: str) -> None:
    assert problem in problems({"name": "a", "shape": shape})[0]


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf"), 10**400])
def test_a_number_that_is_none_is_a_problem(number: float) -> None:
    assert "finite" in problems({"name": "a", "shape": {"kind": "square", "side": number}})[0]


def test_true_is_not_a_number() -> None:
    assert problems({"name": "a", "shape": {"kind": "square", "side": True}}) == [
        "shape.side: expected a number, found true"
    ]


@pytest.mark.parametrize("color", [{}, [], None, 1.5, True])
def test_what_no_enumeration_holds_is_a_problem(color: object) -> None:
    assert problems({**TREE, "color": color})[0].startswith("color: expected one of")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


@given(
    tree=json_values | st.dictionaries(st.sampled_from(sorted(Drawing.__slots__)), json_values), strict=st.booleans()
)
def test_any_tree_gives_a_value_or_problems(tree: object, strict: bool) -> None:  # noqa: FBT001
    with suppress(SchemaError):
        assert isinstance(parse(Drawing, tree, strict=strict), Drawing)


# --- checks that stand with a type -------------------------------------------------------------------------------


def even(value: int) -> None:
    if value % 2:
        raise ValueError(f"must be even, found {value}")


def short(text: str) -> None:
    if len(text) > 3:
        raise ValueError("must be short")


@dataclass(frozen=True, slots=True)
class Checked:
    pairs: Annotated[int, even]
    maybe: Annotated[int, even] | None = None
    pair: Annotated[tuple[Annotated[int, even], int], lambda pair: even(sum(pair))] = (0, 0)
    named: Mapping[Annotated[str, short], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check(self)


def test_a_check_is_told_at_its_own_key_beside_wrong_types() -> None:
    with pytest.raises(SchemaError) as caught:
        parse(Checked, {"pairs": 3, "maybe": "x", "pair": [1, 1], "named": {"long one": 1, "a": 2}}, strict=True)
    assert caught.value.problems == [
        "pairs: must be even, found 3",
        "maybe: expected a whole number, found 'x': no quotes, no unit",
        "pair[0]: must be even, found 1",
        'named."long one": must be short',
    ]


def test_what_is_right_passes_its_checks() -> None:
    tree = {"pairs": 2, "pair": [2, 4], "named": {"a": 1}}
    assert parse(Checked, tree, strict=True) == Checked(2, None, (2, 4), {"a": 1})


def test_what_code_makes_can_be_held_to_the_checks_too() -> None:
    with pytest.raises(SchemaError) as caught:
        Checked(1, 3, (2, 1), {"long": 1})
    assert caught.value.problems == [
        "pairs: must be even, found 1",
        "maybe: must be even, found 3",
        "pair: must be even, found 3",
        "named.long: must be short",
    ]


def test_read_sound_gives_nothing_where_anything_is_wrong() -> None:
    assert read_sound(Checked, {"pairs": 2}) == Checked(2)
    assert read_sound(Checked, {"pairs": 3}) is None
    assert read_sound(Circle | Square, {"kind": "circle", "radius": 0}) is None
    assert read_sound(Circle | Square, {"kind": "square", "side": 1, "x": 1}) is None


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        (16**5000, "a whole number of more than 18 digits"),
        (dt.date(2026, 1, 2), "the date 2026-01-02"),
        ("x" * 100, "'" + "x" * 56 + "..."),
    ],
    ids=["number", "date", "text"],
)
def test_whatever_is_found_has_a_short_name(tree: object, expected: str) -> None:
    assert found(tree) == expected


@pytest.mark.parametrize("path", ["", "a\0b"])
def test_what_no_system_takes_is_no_path(path: str) -> None:
    assert "path: expected a path, found" in problems({**TREE, "path": path})[0]
