"""What sections of a report are laid out with: headed boxes and tables."""

from collections.abc import Sequence

from converter.report.markup import Markup, element


def table(head: Sequence[str], rows: Sequence[Sequence[str | float | None]]) -> Markup:
    """A table that scrolls by itself where it is too wide. Columns of numbers stand right, the first one never."""
    right = [column > 0 and bool(rows) and all(_is_number(row[column]) for row in rows) for column in range(len(head))]
    names = [element("th", name, class_="n" if n else None, scope="col") for name, n in zip(head, right, strict=True)]
    lines = [
        element("tr", *(element("td", cell, class_="n" if n else None) for cell, n in zip(row, right, strict=True)))
        for row in rows
    ]
    whole = element("table", element("thead", element("tr", *names)), element("tbody", *lines))
    return element("div", whole, class_="scroll")


def section(title: str, *children: str | None) -> Markup:
    return element("section", element("h2", title), *(child for child in children if child is not None))


def _is_number(cell: str | float | None) -> bool:
    return cell is None or isinstance(cell, int | float) or cell == "" or cell[:1] in "-+0123456789"
