"""Between plain trees (what TOML and JSON give) and our dataclasses: one strict or tolerant reader for all of them.

Strict, for what a person types: an unknown key is a problem and names the nearest known one. Tolerant, for what a
versioned machine sends: unknown keys are ignored. Either way all problems are collected before anything is raised.
A union of dataclasses is told apart by its `kind` field. A field with an underscore at its end has none in the tree:
`class_` is the key `class`. What a value must be beyond its type stands with the type,
`Annotated[float, check]`, where `check(value)` raises ValueError with what was expected and found: so a value out of
range is told with everything else, at its own key.
"""

import dataclasses
import datetime as dt
import enum
import json
import math
import re
import types
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")


class SchemaError(ValueError):
    """Every problem found, one line each, in `problems`."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def parse(kind: type[T], tree: object, *, strict: bool, where: str = "") -> T:
    """Build a `kind` from a plain tree.

    Raises:
        SchemaError: with all problems; `where` is the path they begin with.
    """
    problems: list[str] = []
    value = _Reader(strict, problems).read(kind, tree, where)
    if problems:
        raise SchemaError(problems)
    assert isinstance(value, kind)
    return value


def read_sound(kind: Any, tree: object) -> Any | None:
    """A `kind` from a plain tree, strictly; None where anything is wrong with it."""
    problems: list[str] = []
    value = _Reader(strict=True, problems=problems).read(kind, tree, "")
    return None if problems else value


def check(value: object) -> None:
    """Hold a dataclass's fields to the checks of their types: what code makes is checked as what is read.

    Raises:
        SchemaError: with all problems.
    """
    problems: list[str] = []
    reader, table = _Reader(strict=True, problems=problems), cast("Any", type(value))
    for name, kind in _hints(table).items():
        reader.hold(kind, getattr(value, name), name)
    if problems:
        raise SchemaError(problems)


def dump(value: object) -> Any:
    """The plain tree of a dataclass: what `parse` reads back. Fields that are None are left out."""
    if type(value) in (str, float, int, bool):  # by far the most: a worker says everything through here
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        pairs = ((key_of(field), getattr(value, field.name)) for field in dataclasses.fields(value))
        return {name: dump(item) for name, item in pairs if item is not None}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): dump(item) for key, item in value.items()}
    if isinstance(value, tuple | list | frozenset):
        return [dump(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def below(where: str, key: object) -> str:
    """The place of a key in the table at `where`; in quotes where it could not be read without."""
    text = str(key)
    name = text if text.isidentifier() or re.fullmatch(r"[\w-]+", text) else json.dumps(text, ensure_ascii=False)
    return f"{where}.{name}" if where else name


def found(tree: object) -> str:
    """What was found, as a message names it: short, and whatever it is."""
    if isinstance(tree, Mapping):
        return "a table"
    if isinstance(tree, list | tuple):
        return "a list"
    if isinstance(tree, bool):
        return str(tree).lower()
    if isinstance(tree, int) and abs(tree) > _LONGEST:
        return "a whole number of more than 18 digits"  # of a very long one, Python refuses to tell the digits
    if isinstance(tree, dt.date | dt.time):
        return f"the {type(tree).__name__} {tree.isoformat()}"
    text = repr(tree)
    return text if len(text) <= 60 else text[:57] + "..."


def key_of(field: dataclasses.Field[Any]) -> str:
    """What a field is called in a tree: a field cannot have the name of a keyword."""
    return field.name.rstrip("_")


_MISSING = object()
_LONGEST = 10**18


class _Reader:
    def __init__(self, strict: bool, problems: list[str]) -> None:  # noqa: FBT001
        self._strict = strict
        self._problems = problems

    def read(self, kind: Any, tree: object, where: str) -> Any:
        origin = get_origin(kind)
        if origin in (Union, types.UnionType):
            return self._union(get_args(kind), tree, where)
        if dataclasses.is_dataclass(kind):
            return self._dataclass(kind, tree, where)
        if origin is Literal:
            return self._one_of(get_args(kind), tree, where)
        if origin is tuple:
            return self._tuple(get_args(kind), tree, where)
        if origin is Mapping:
            return self._mapping(kind, tree, where)
        return self._checked(kind, tree, where) if origin is Annotated else self._scalar(kind, tree, where)

    def hold(self, kind: Any, value: object, where: str) -> None:
        """Note what the checks of this type say of a value that has it."""
        origin, members = get_origin(kind), get_args(kind)
        if origin in (Union, types.UnionType) and value is not None and type(None) in members:
            for member in members:
                self.hold(member, value, where)
        elif origin is Mapping and isinstance(value, Mapping):
            self._hold_keys(members[0], value, where)
        elif origin is Annotated:
            self.hold(members[0], value, where)
            self._ask(members[1:], value, where)

    def _hold_keys(self, kind: Any, value: Mapping[Any, object], where: str) -> None:
        for key in value if kind is not str else ():
            self.hold(kind, str(key), below(where, key))

    def _checked(self, kind: Any, tree: object, where: str) -> object:
        before = len(self._problems)
        value = self.read(get_args(kind)[0], tree, where)
        return value if len(self._problems) > before else self._ask(get_args(kind)[1:], value, where)

    def _ask(self, checks: tuple[Any, ...], value: object, where: str) -> object:
        """The value, or the first problem that one of the checks tells."""
        for check_value in checks:
            try:
                check_value(value)
            except ValueError as error:
                return self._problem(where, str(error))
        return value

    def _problem(self, where: str, text: str) -> object:
        self._problems.append(f"{where}: {text}" if where else text)
        return _MISSING

    def _scalar(self, kind: Any, tree: object, where: str) -> object:
        if kind is float and isinstance(tree, int | float) and not isinstance(tree, bool):
            return self._float(tree, where)
        if kind is Path and isinstance(tree, str):
            known = tree and "\0" not in tree  # what no system call takes
            return Path(tree) if known else self._problem(where, f"expected a path, found {found(tree)}")
        if isinstance(kind, type) and issubclass(kind, enum.Enum):
            values = {member.value: member for member in kind}
            known = isinstance(tree, str | int) and tree in values  # what is unhashable is no value
            return values[tree] if known else self._one_of(tuple(values), tree, where)
        if kind in (Any, object) or (isinstance(tree, kind) and (kind is bool or not isinstance(tree, bool))):
            return tree
        bare = kind in (int, float, bool) and isinstance(tree, str)
        return self._problem(where, f"expected {_name(kind)}, found {found(tree)}{': no quotes, no unit' * bare}")

    def _float(self, tree: float, where: str) -> object:
        """A number that is one: JSON and TOML both let through infinities, and `nan` passes every comparison."""
        try:
            value = float(tree)
        except OverflowError:
            value = math.inf
        return value if math.isfinite(value) else self._problem(where, f"expected a finite number, found {found(tree)}")

    def _one_of(self, allowed: tuple[object, ...], tree: object, where: str) -> object:
        if any(type(tree) is type(each) and tree == each for each in allowed):  # False is no 0
            return tree
        choices = ", ".join(map(str, allowed))
        return self._problem(where, f"expected one of {choices}, found {found(tree)}{_nearest(tree, allowed)}")

    def _union(self, members: tuple[Any, ...], tree: object, where: str) -> object:
        if tree is None and type(None) in members:
            return None
        members = tuple(member for member in members if member is not type(None))
        if len(members) == 1:
            return self.read(members[0], tree, where)
        if not all(dataclasses.is_dataclass(member) for member in members):
            return self._first_that_fits(members, tree, where)
        if not isinstance(tree, Mapping):
            return self._problem(where, f"expected a table, {{ kind = ... }}, found {found(tree)}")
        kinds = {get_args(_hints(member)["kind"])[0]: member for member in members}
        if "kind" not in tree:
            return self._problem(where, f"kind is missing; expected one of {', '.join(kinds)}")
        chosen = self._one_of(tuple(kinds), tree["kind"], f"{where}.kind" if where else "kind")
        return _MISSING if chosen is _MISSING else self._dataclass(kinds[str(chosen)], tree, where)

    def _first_that_fits(self, members: tuple[Any, ...], tree: object, where: str) -> object:
        """Of a union of plain values, as `int | Literal["auto"]`."""
        for member in members:
            problems: list[str] = []
            value = _Reader(self._strict, problems).read(member, tree, where)
            if not problems:
                return value
        return self._problem(where, f"expected {' or '.join(map(_name, members))}, found {found(tree)}")

    def _tuple(self, members: tuple[Any, ...], tree: object, where: str) -> object:
        if not isinstance(tree, list | tuple):
            item = ": in TOML, [[...]] begins each table of a list" if isinstance(tree, Mapping) else ""
            return self._problem(where, f"expected a list, found {found(tree)}{item}")
        if members[-1] is Ellipsis:
            return tuple(self.read(members[0], item, f"{where}[{index}]") for index, item in enumerate(tree))
        if len(members) != len(tree):
            return self._problem(where, f"expected {len(members)} values, found {len(tree)}")
        pairs = enumerate(zip(members, tree, strict=True))
        return tuple(self.read(member, item, f"{where}[{index}]") for index, (member, item) in pairs)

    def _mapping(self, kind: Any, tree: object, where: str) -> object:
        if not isinstance(tree, Mapping):
            return self._problem(where, f"expected a table, found {found(tree)}")
        name, member = get_args(kind)
        self._hold_keys(name, tree, where)
        return {str(key): self.read(member, item, below(where, key)) for key, item in tree.items()}

    def _dataclass(self, kind: Any, tree: object, where: str) -> object:
        if not isinstance(tree, Mapping):
            return self._problem(where, f"expected a table, found {found(tree)}")
        prefix = f"{where}." if where else ""
        hints = _hints(kind)
        fields = {key_of(field): field for field in dataclasses.fields(kind) if field.init}
        before = len(self._problems)
        if self._strict:
            for key in tree:
                if key not in fields:
                    self._problem(below(where, key), f"unknown key{_nearest(key, tuple(fields))}")
        values: dict[str, object] = {}
        for name, field in fields.items():
            if name in tree:
                values[field.name] = self.read(hints[field.name], tree[name], f"{prefix}{name}")
            elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
                self._problem(f"{prefix}{name}", "is missing")
        if len(self._problems) > before:
            return _MISSING
        try:
            return kind(**values)
        except SchemaError as error:  # of a table that looks for all that is wrong with it
            for text in error.problems:
                self._problem(where, text)
        except ValueError as error:
            self._problem(where, str(error))
        return _MISSING


@cache
def _hints(kind: Any) -> dict[str, Any]:
    # Evaluating annotations takes long, and a worker's every word comes through here
    return get_type_hints(kind, include_extras=True)


def nearest(text: str, known: Iterable[str]) -> str | None:
    """The known word that a person may have meant: the same one, else one much like it."""
    words = list(known)
    if text in words:
        return text
    import difflib  # memory that is needed for mistakes only

    return next(iter(difflib.get_close_matches(text, words, n=1, cutoff=0.5)), None)


def _nearest(found: object, known: tuple[object, ...]) -> str:
    near = nearest(found, map(str, known)) if isinstance(found, str) else None
    return f"; did you mean {near!r}?" if near else ""


def _name(kind: Any) -> str:
    names = {str: "a string", int: "a whole number", float: "a number", bool: "true or false", Path: "a path"}
    if get_origin(kind) is Literal:
        return " or ".join(map(repr, get_args(kind)))
    if get_origin(kind) is tuple:
        return "a list"
    if get_origin(kind) is Annotated:
        return _name(get_args(kind)[0])
    return names.get(kind, getattr(kind, "__name__", str(kind)))
