"""Metrics of `edgectl evaluate` in a report: whatever plain tree it gives, its numbers in tables, its matrices drawn.

Knows three shapes by name (`confusion`, `labels`, `per_class`); all other numbers are told by their path in the tree.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from converter.report.charts import confusion_chart
from converter.report.layout import section, table
from converter.report.markup import Markup, element, joined

_SIDES = ("float", "converted")
_LARGEST_MATRIX = 120  # classes; beyond, cells could not be seen
_CONFUSIONS = 20
_OWN = ("confusion", "labels", "per_class")


def evaluation(trees: Mapping[str, Mapping[str, Any]]) -> Markup | None:
    """The section; None where nothing was evaluated. `trees`: by `float` and `converted`; others have their own."""
    sides = {side: trees[side] for side in _SIDES if trees.get(side)}
    others = {name: tree for name, tree in sorted(trees.items()) if name not in _SIDES and tree}
    if not sides and not others:
        return None
    more = [joined(element("h3", name), _figures({"": tree})) for name, tree in others.items()]
    matrices = element("div", *_matrices(sides), class_="pair")
    return section("Accuracy", _figures(sides), *more, matrices, _classes(sides))


def _figures(sides: Mapping[str, Mapping[str, Any]]) -> Markup | None:
    flat = {side: dict(_scalars(tree)) for side, tree in sides.items()}
    names = list(dict.fromkeys(name for figures in flat.values() for name in figures))
    if not names:
        return None
    return table(["metric", *flat], [(name, *(figures.get(name, "") for figures in flat.values())) for name in names])


def _scalars(tree: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    for key, value in tree.items():
        name = f"{path} {key}".strip().replace("_", " ")
        if not path and key in _OWN:
            continue
        if isinstance(value, Mapping):
            yield from _scalars(value, name)
        elif _is_figure(value):
            yield name, _said(value)
        elif isinstance(value, str):
            yield name, value
        elif isinstance(value, Sequence) and len(value) == 2 and all(map(_is_figure, value)):  # an interval
            yield name, f"{_said(value[0])} to {_said(value[1])}"


def _matrices(sides: Mapping[str, Mapping[str, Any]]) -> Iterator[Markup]:
    for side, tree in sides.items():
        matrix = _matrix(tree.get("confusion"))
        if not matrix:
            continue
        found = tree.get("labels")
        labels = [str(label) for label in found] if isinstance(found, Sequence) and not isinstance(found, str) else []
        title = f"Confusion matrix, {side}"
        caption = element("figcaption", f"{title}: rows are true, columns answered")
        drawn = confusion_chart(matrix, labels, title) if len(matrix) <= _LARGEST_MATRIX else None
        worst = _confusions(matrix, labels)
        summary = element("summary", "what is most often taken for another")
        listed = element("details", summary, table(["true", "answered", "times"], worst)) if worst else None
        yield element("figure", caption, drawn, listed)


def _confusions(matrix: Sequence[Sequence[float]], labels: Sequence[str]) -> list[tuple[str, str, str]]:
    wrong = [
        (value, row, column)
        for row, values in enumerate(matrix)
        for column, value in enumerate(values)
        if row != column and value
    ]
    wrong.sort(key=lambda found: (-found[0], found[1], found[2]))

    def called(number: int) -> str:
        return labels[number] if number < len(labels) else f"class {number}"

    return [(called(row), called(column), _said(value)) for value, row, column in wrong[:_CONFUSIONS]]


def _classes(sides: Mapping[str, Mapping[str, Any]]) -> Markup | None:
    """A row for each class; of each metric a column for each side."""
    found = {side: dict(_by_class(tree.get("per_class"))) for side, tree in sides.items()}
    classes = list(dict.fromkeys(name for rows in found.values() for name in rows))
    metrics = list(dict.fromkeys(key for rows in found.values() for row in rows.values() for key in row))
    if not classes or not metrics:
        return None
    columns = [(metric, side) for metric in metrics for side, rows in found.items() if rows]
    head = ["class", *(f"{metric.replace('_', ' ')}, {side}" for metric, side in columns)]
    rows = [(name, *(found[side].get(name, {}).get(metric, "") for metric, side in columns)) for name in classes]
    return element("details", element("summary", f"each of {len(classes)} classes"), table(head, rows))


def _by_class(tree: Any) -> Iterator[tuple[str, dict[str, str]]]:
    """`{"cat": {"f1": 0.9}}`, `{"cat": 0.9}` or `[{"label": "cat", "f1": 0.9}]`."""
    if isinstance(tree, Mapping):
        for name, value in tree.items():
            yield str(name), dict(_scalars(value if isinstance(value, Mapping) else {"value": value}))
    elif isinstance(tree, Sequence) and not isinstance(tree, str):
        for number, row in enumerate(tree):
            if isinstance(row, Mapping):
                name = next((str(row[key]) for key in ("label", "name", "class") if key in row), str(number))
                rest = {key: value for key, value in row.items() if key not in ("label", "name", "class")}
                yield name, dict(_scalars(rest))


def _is_figure(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _matrix(value: Any) -> Sequence[Sequence[float]]:
    """Empty where it is no square of numbers."""
    rows = value if isinstance(value, Sequence) and not isinstance(value, str) else ()
    square = all(
        isinstance(row, Sequence) and not isinstance(row, str) and len(row) == len(rows) and all(map(_is_figure, row))
        for row in rows
    )
    return rows if square else ()


def _said(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
