"""A picture of a model's graph: operators from top to bottom, as SVG or as a page around it.

Where everything stands is left to `layered`.
"""

import itertools
from collections.abc import Sequence

from converter.layer_list import Layer, list_layers, short_name
from converter.report.charts import COLORS, drawing
from converter.report.layered import lay_out
from converter.report.markup import Markup, element, void
from converter.tflite_schema import Graph, Tensor
from edge_agent.errors import counted

_SIZE, _GAP = (190.0, 46.0), (18.0, 26.0)
_MARGIN = 14.0
_KEY_HEIGHT = 26.0
_FITTING, _FITTING_BOLD = 27, 22  # characters on a line of a node
_PASSED_ON = ("DEQUANTIZE",)  # of weights: it makes float of a constant

# Concrete colors: not every program that shows SVG knows variables.
_STYLE = """
svg{background:#f6f7f9}text{font:11px system-ui,sans-serif;fill:#5b6776}.op{font-weight:600;font-size:12px;fill:#1b2430}
.node{fill:#fff;stroke:#c9d0d8}.end{fill:#e9edf2;stroke:#c9d0d8}.edge{fill:none;stroke:#8b97a5;stroke-width:1.3}
.head{fill:#8b97a5}.f-a{fill:#2f6fde}.f-b{fill:#d9822b}.f-c{fill:#1f9d8b}.f-d{fill:#8a5cd6}.f-e{fill:#c2487a}
@media (prefers-color-scheme:dark){svg{background:#12161c}text{fill:#9aa7b6}.op{fill:#e6eaf0}.node{fill:#1b2129;
stroke:#3b4653}
.end{fill:#262e38;stroke:#3b4653}.edge{stroke:#77848f}.head{fill:#77848f}
.f-a{fill:#6ea3ff}.f-b{fill:#f0a557}.f-c{fill:#4cc9b5}.f-d{fill:#b48cf2}.f-e{fill:#ea7fa9}}
@media print{svg{background:#fff}}
"""
_PAGE_STYLE = """
body{margin:0;background:#f6f7f9}svg{display:block;margin:0 auto}
@media (prefers-color-scheme:dark){body{background:#12161c}}
"""


def draw_graph(graph: Graph, name: str) -> Markup:
    """The main graph of a model called `name`."""
    layers = {layer.name: layer for layer in list_layers(graph)}
    nodes, edges = _wired(graph)
    layout = lay_out(len(nodes), edges, size=_SIZE, gap=_GAP)
    kinds = list(dict.fromkeys(layer.precision for layer in layers.values()))
    colors = {kind: COLORS[min(number, len(COLORS) - 1)] for number, kind in enumerate(kinds)}
    moved = [(x + _MARGIN, y + _MARGIN + _KEY_HEIGHT) for x, y in layout.nodes]
    parts = [element("style", Markup(_STYLE))]
    parts += [_edge([(x + _MARGIN, y + _MARGIN + _KEY_HEIGHT) for x, y in points]) for points in layout.edges]
    for (operator, tensor), place in zip(nodes, moved, strict=True):
        if operator is None:
            parts.append(_end(graph, tensor, place))
        else:
            held = graph.tensors[tensor] if tensor >= 0 else None
            parts.append(_node(operator, layers.get(held.name if held is not None else ""), held, place, colors))
    width = max(layout.width, 320.0) + 2 * _MARGIN
    macs = sum(layer.macs or 0 for layer in layers.values())
    about = f"{counted(len(graph.operators), 'operator')}, {macs:,} multiply-accumulates"
    parts += _key(colors)
    return drawing(f"Graph of {name}", width, layout.height + 2 * _MARGIN + _KEY_HEIGHT, *parts, description=about)


def svg_file(picture: Markup) -> bytes:
    """The picture as a file of its own."""
    return picture.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1).encode() + b"\n"


def html_file(picture: Markup, name: str) -> bytes:
    """The picture as a page."""
    head = element(
        "head",
        void("meta", charset="utf-8"),
        void("meta", name="viewport", content="width=device-width,initial-scale=1"),
        element("title", f"Graph of {name}"),
        element("style", Markup(_PAGE_STYLE)),
    )
    return b"<!doctype html>\n" + element("html", head, element("body", picture), lang="en").encode() + b"\n"


def _wired(graph: Graph) -> tuple[list[tuple[str | None, int]], list[tuple[int, int]]]:
    """Nodes (operator, or None of an input or output; the tensor it makes or is), and edges between them."""
    nodes: list[tuple[str | None, int]] = [(None, tensor) for tensor in graph.inputs]
    made = {tensor: number for number, tensor in enumerate(graph.inputs)}
    edges: list[tuple[int, int]] = []
    for operator in graph.operators:
        unpacks = operator.name in _PASSED_ON and graph.tensors[operator.inputs[0]].constant
        if unpacks:
            continue
        number = len(nodes)
        nodes.append((operator.name, operator.outputs[0] if operator.outputs else -1))
        edges += [(made[tensor], number) for tensor in dict.fromkeys(operator.inputs) if tensor in made]
        made |= dict.fromkeys(operator.outputs, number)
    for tensor in graph.outputs:
        if tensor in made:
            edges.append((made[tensor], len(nodes)))
        nodes.append((None, tensor))
    return nodes, edges


def _node(
    operator: str, layer: Layer | None, made: Tensor | None, place: tuple[float, float], colors: dict[str, str]
) -> Markup:
    left, top = place[0] - _SIZE[0] / 2, place[1] - _SIZE[1] / 2
    shape = ("x".join(map(str, made.shape)) or "scalar") if made is not None else ""
    about = f"{shape} {layer.precision if layer is not None else made.type.lower() if made is not None else ''}"
    figures = _figures(layer) if layer is not None else ""
    per = f"weights per {layer.granularity}" if layer is not None and layer.granularity else ""
    said = (operator, made.name if made is not None else "", about, per, figures)
    return element(
        "g",
        element("title", "; ".join(filter(None, said))),
        element("rect", x=left, y=top, width=_SIZE[0], height=_SIZE[1], rx=6, class_="node"),
        element(
            "rect",
            x=left,
            y=top + 6,
            width=4,
            height=_SIZE[1] - 12,
            class_=f"f-{colors[layer.precision]}" if layer is not None else "end",
        ),
        element("text", _fitted(operator, _FITTING_BOLD), x=left + 12, y=top + 15, class_="op"),
        element("text", _fitted(about), x=left + 12, y=top + 28),
        element("text", _fitted(figures), x=left + 12, y=top + 41),
    )


def _figures(layer: Layer) -> str:
    macs = f"{layer.macs:,} MACs" if layer.macs is not None else ""
    size = f"{layer.size_bytes:,} B" if layer.size_bytes else ""
    return ", ".join(filter(None, [macs, size]))


def _end(graph: Graph, tensor: int, place: tuple[float, float]) -> Markup:
    held = graph.tensors[tensor]
    names = dict(zip((*graph.inputs, *graph.outputs), (*graph.input_names, *graph.output_names), strict=True))
    name = names[tensor]
    left, top = place[0] - _SIZE[0] / 2, place[1] - _SIZE[1] / 2
    about = f"{held.type.lower()} {'x'.join(map(str, held.signature))}"
    return element(
        "g",
        element("title", f"{name}; {about}"),
        element("rect", x=left, y=top, width=_SIZE[0], height=_SIZE[1], rx=_SIZE[1] / 2, class_="end"),
        element(
            "text",
            _fitted(short_name(name), _FITTING_BOLD),
            x=place[0],
            y=place[1] - 2,
            text_anchor="middle",
            class_="op",
        ),
        element("text", _fitted(about), x=place[0], y=place[1] + 13, text_anchor="middle"),
    )


def _fitted(text: str, room: int = _FITTING) -> str:
    return text if len(text) <= room else f"{text[: room - 1]}…"


def _edge(points: Sequence[tuple[float, float]]) -> Markup:
    """From the foot of the first to the head of the last, straight down through the points between."""
    half = _SIZE[1] / 2
    (x, y), (end_x, end_y) = points[0], points[-1]
    stops = [(x, y + half)]
    for bend_x, bend_y in points[1:-1]:
        stops += [(bend_x, bend_y - half), (bend_x, bend_y + half)]
    stops.append((end_x, end_y - half - 5))
    path = f"M{stops[0][0]:.1f} {stops[0][1]:.1f}"
    for number, ((a, b), (c, d)) in enumerate(itertools.pairwise(stops)):
        middle = (b + d) / 2
        curved = number % 2 == 0 and abs(a - c) > 0.5
        path += f"C{a:.1f} {middle:.1f} {c:.1f} {middle:.1f} {c:.1f} {d:.1f}" if curved else f"L{c:.1f} {d:.1f}"
    tip = f"M{end_x - 3.5:.1f} {end_y - half - 6:.1f}h7l-3.5 6z"
    return element("g", element("path", d=path, class_="edge"), element("path", d=tip, class_="head"))


def _key(colors: dict[str, str]) -> list[Markup]:
    parts: list[Markup] = []
    x = _MARGIN
    for kind, color in colors.items():
        if not kind:
            continue
        parts.append(element("rect", x=x, y=_MARGIN - 2, width=10, height=10, rx=2, class_=f"f-{color}"))
        parts.append(element("text", kind, x=x + 15, y=_MARGIN + 7))
        x += 30 + 6.2 * len(kind)
    return parts
