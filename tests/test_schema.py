"""Trees from TOML and JSON become values, or every problem is told at once."""

import enum
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.schema import SchemaError, dump, parse


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
        "shape.radius: expected a number, found 'big'",
        "color: expected one of red, blue, found 'rde'; did you mean 'red'?",
        "layers[1]: expected a whole number, found 'two'",
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
        "shape.side: expected a number, found True"
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
