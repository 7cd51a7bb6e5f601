"""Writing HTML and SVG such that no text can become markup: whatever is not `Markup` already is escaped.

Labels, layers and files are named by anybody. What is drawn is left to `charts`, `page` and `graph`.
"""

import html
from typing import Self


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()

    def __new__(cls, text: str = "") -> Self:
        return super().__new__(cls, text)


def element(tag: str, *children: str | float | None, **attributes: str | float | None) -> Markup:
    """`<tag attributes>children</tag>`; children and values that are None are left out.

    An attribute's name may end in `_` (Python's own words) and has `-` for `_` within: `class_`, `stroke_width`.
    """
    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{html.escape(_text(value))}"'
        for name, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{tag}{written}>{joined(*children)}</{tag}>")


def void(tag: str, **attributes: str | float | None) -> Markup:
    """An element that can have no children: `img`, `meta`."""
    return Markup(element(tag, **attributes).removesuffix(f"</{tag}>"))


def joined(*children: str | float | None) -> Markup:
    """Children one after the other."""
    return Markup("".join(_written(child) for child in children if child is not None))


def _written(child: str | float) -> str:
    return child if isinstance(child, Markup) else html.escape(_text(child))


def _text(value: str | float) -> str:
    """Pixels to two places: the same bytes wherever it is drawn, and no more of them than are seen."""
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    # what no XML may hold, and what would end the line of a name
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in str(value))
