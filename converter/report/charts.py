"""The pictures of a report, as inline SVG: each has a title, and says in numbers what it shows to those who hover.

Colors are classes of `style`; sizes are px of the picture's own space, which shrinks to the page.
"""

import math
from collections.abc import Sequence

from converter.layer_list import short_name
from converter.report.markup import Markup, element, joined
from converter.report.sections import Candidate, LayerError, TensorRange

COLORS = ("a", "b", "c", "d", "e")
_WIDTH = 1000.0
_EQUAL_DB = 100.0  # how high a layer without any error is drawn
_LABELED_CLASSES, _COUNTED_CLASSES = 40, 16


def drawing(title: str, width: float, height: float, *children: str, description: str | None = None) -> Markup:
    """An SVG of this size, which a reader of screens calls by its title."""
    return element(
        "svg",
        element("title", title),
        element("desc", description) if description else None,
        *children,
        viewBox=f"0 0 {width:g} {height:g}",
        width=width,
        height=height,
        role="img",
        aria_label=title,
    )


def layer_chart(layers: Sequence[LayerError], colors: dict[str, str]) -> Markup:
    """A column for each layer: as high as its SNR, colored by its precision (`colors`: precision → class)."""
    left, top, height = 40.0, 10.0, 200.0
    step = (_WIDTH - left) / len(layers)
    wide = min(max(0.5, step * 0.84), 64.0)
    values = [_EQUAL_DB if layer.snr_db is None else layer.snr_db for layer in layers]
    ceiling = max(20.0, math.ceil(max(values) / 10) * 10)
    parts = _levels(left, top, height, ceiling, "dB")
    for number, (layer, value) in enumerate(zip(layers, values, strict=True)):
        tall = max(1.5, height * max(0.0, value) / ceiling)
        said = "equal" if layer.snr_db is None else f"{layer.snr_db:.1f} dB"
        parts.append(
            element(
                "rect",
                element("title", f"{number + 1} {short_name(layer.name)}, {layer.operator}, {layer.precision}: {said}"),
                x=left + (number + 0.5) * step - wide / 2,
                y=top + height - tall,
                width=wide,
                height=tall,
                class_=f"f-{colors[layer.precision]}",
            )
        )
    parts.append(element("text", f"layers 1 to {len(layers)}, in the order in which they run", x=left, y=height + 28))
    return drawing("SNR of each layer's output", _WIDTH, height + 34, *parts)


def _levels(left: float, top: float, height: float, ceiling: float, unit: str) -> list[Markup]:
    """Lines across, at quarters of the axis."""
    parts = []
    for quarter in range(5):
        y = top + height - height * quarter / 4
        parts.append(element("line", x1=left, x2=_WIDTH, y1=y, y2=y, class_="axis"))
        label = f"{ceiling * quarter / 4:g}" + (f" {unit}" if quarter == 4 else "")
        parts.append(element("text", label, x=left - 4, y=y + 4, text_anchor="end"))
    return parts


def histogram(tensor: TensorRange) -> Markup:
    """The values of one tensor. Columns are of the square root of the counts, so that the rare ones are seen."""
    width, height = 200.0, 46.0
    most = max(1, *tensor.counts)
    step = width / len(tensor.counts)
    outline = f"M0 {height:g}" + "".join(
        f"V{height - height * math.sqrt(count / most):.1f}h{step:.2f}" for count in tensor.counts
    )
    path = element("path", d=f"{outline}V{height:g}Z", class_="f-a")
    ends = joined(
        element("text", f"{tensor.smallest:.4g}", x=0, y=height + 12),
        element("text", f"{tensor.largest:.4g}", x=width, y=height + 12, text_anchor="end"),
    )
    return drawing(f"Values of {short_name(tensor.name)}", width, height + 16, path, ends)


def pareto_chart(candidates: Sequence[Candidate]) -> Markup:
    """Each candidate a dot: to the right the larger ones, above the truer ones; numbered as in the table."""
    left, right, top, height = 60.0, 20.0, 20.0, 260.0
    sizes, fidelities = [c.size_bytes for c in candidates], [c.fidelity for c in candidates]
    low, high = _padded(sizes)
    least, most = _padded(fidelities)

    def place(candidate: Candidate) -> tuple[float, float]:
        x = left + (_WIDTH - left - right) * (candidate.size_bytes - low) / (high - low)
        return x, top + height - height * (candidate.fidelity - least) / (most - least)

    front = sorted(place(candidate) for candidate in candidates if candidate.pareto)
    parts = [element("rect", x=left, y=top, width=_WIDTH - left - right, height=height, class_="axis")]
    if len(front) > 1:
        parts.append(element("polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in front), class_="front"))
    for number, candidate in enumerate(candidates, 1):
        x, y = place(candidate)
        latency = "" if candidate.latency_ms is None else f", {candidate.latency_ms:.3g} ms {candidate.where}"
        said = f"{number} {candidate.label}: {candidate.size_bytes:,} bytes, {candidate.fidelity:.4g}{latency}"
        color = "a" if candidate.pareto else "b"
        parts.append(element("circle", element("title", said), cx=x, cy=y, r=5, class_=f"f-{color}"))
        if candidate.chosen:
            parts.append(element("circle", cx=x, cy=y, r=9, class_="ring"))
        parts.append(element("text", number, x=x, y=y - 9, text_anchor="middle", class_="strong"))
    bottom = top + height
    parts += [
        element("text", f"{low / 1000:,.0f} kB", x=left, y=bottom + 16),
        element("text", f"{high / 1000:,.0f} kB", x=_WIDTH - right, y=bottom + 16, text_anchor="end"),
        element("text", f"{most:.4g}", x=left - 6, y=top + 8, text_anchor="end"),
        element("text", f"{least:.4g}", x=left - 6, y=bottom, text_anchor="end"),
        element("text", f"{candidates[0].fidelity_name} ↑   size →", x=left + 8, y=top + 16),
    ]
    return drawing("Size and fidelity of what was tried", _WIDTH, bottom + 22, *parts)


def _padded(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    room = (high - low) * 0.08 or abs(high) * 0.05 or 1.0
    return low - room, high + room


def confusion_chart(matrix: Sequence[Sequence[float]], labels: Sequence[str], title: str) -> Markup:
    """Rows are the true classes, columns the answers; the darker, the larger the share of the row."""
    count = len(matrix)
    cell = min(36.0, max(8.0, 460.0 / count))
    margin = 92.0 if count <= _LABELED_CLASSES else 10.0
    parts = []
    for row, values in enumerate(matrix):
        total = sum(values) or 1.0
        for column, value in enumerate(values):
            x, y = margin + column * cell, margin + row * cell
            share = value / total
            said = f"{_label(labels, row)} answered {_label(labels, column)}: {value:g} ({share:.1%})"
            parts.append(
                element(
                    "rect",
                    element("title", said),
                    x=x,
                    y=y,
                    width=cell - 1,
                    height=cell - 1,
                    class_="f-a" if row == column else "f-b",
                    fill_opacity=round(0.06 + 0.94 * share, 2) if value else 0.04,
                )
            )
            if count <= _COUNTED_CLASSES and value:
                middle = x + (cell - 1) / 2
                parts.append(
                    element("text", f"{value:g}", x=middle, y=y + cell / 2 + 4, text_anchor="middle", class_="strong")
                )
    if count <= _LABELED_CLASSES:
        for number in range(count):
            at = margin + number * cell + cell / 2
            name = _label(labels, number)
            name = name if len(name) <= 14 else f"{name[:13]}…"
            parts.append(element("text", name, x=margin - 6, y=at + 4, text_anchor="end"))
            turned = f"rotate(-45 {at:.1f} {margin - 6:.1f})"
            parts.append(element("text", name, x=at, y=margin - 6, transform=turned))
    size = margin + count * cell + 24
    return drawing(title, size, size, *parts)


def _label(labels: Sequence[str], number: int) -> str:
    return labels[number] if number < len(labels) else str(number)
