"""Tables of keys in the documentation, held against the dataclasses of the configuration.

A row is `| name | keys that are required | the others |`; each key stands in backticks, with its default where it has
one: `repeat = false`.
"""

import re
import tomllib
from dataclasses import MISSING, fields
from typing import Any

from edge_agent.schema import dump

Keys = dict[str, Any]  # each with its default; REQUIRED, or None where it may be left out and has none
REQUIRED = object()


def documented(page: str) -> dict[str, Keys]:
    """By the name in the first column, of every table whose heading is `required | optional`."""
    found: dict[str, Keys] = {}
    for table in re.findall(r"^\|[^\n|]*\| required \| optional \|\n\|[-|]+\|\n((?:\|.*\|\n)+)", page, re.MULTILINE):
        for line in table.splitlines():
            name, required, optional = (cell.strip() for cell in line.strip("|").split("|"))
            name = name.replace("`", "")
            assert name not in found, f"{name} has two rows"
            keys = dict.fromkeys(re.findall(r"`(\w+)`", required), REQUIRED)
            found[name] = keys | {
                key: default for item in re.findall(r"`([^`]+)`", optional) for key, default in _key(item)
            }
    return found


def keys_of(kind: type[Any], *, without: type[Any] | None = None) -> Keys:
    """What the class says itself; `kind`, which tells it from others, and the keys of `without` are left out."""
    left_out = {"kind", *(each.name for each in (fields(without) if without else ()))}
    return {each.name: _default(each) for each in fields(kind) if each.name not in left_out}


def shown(table: Keys, kind: type[Any]) -> list[str]:
    """What is wrong with an example that is to show every key of a class, with its default where it has one."""
    expected = keys_of(kind)
    wrong = [f"{key}: shown and no key" for key in table if key not in expected and key != "kind"]
    wrong += [f"{key}: not shown" for key in expected if key not in table]
    return wrong + [
        f"{key}: {table[key]!r} is shown, the default is {default!r}"
        for key, default in expected.items()
        if key in table and default not in (REQUIRED, None, [], {}) and table[key] != default
    ]


def _default(field: Any) -> Any:
    if field.default is not MISSING:
        return dump(field.default)
    return REQUIRED if field.default_factory is MISSING else dump(field.default_factory())


def _key(item: str) -> list[tuple[str, Any]]:
    return list(tomllib.loads(item).items()) if "=" in item else [(item, None)]
