"""The picture of a graph: every operator in it, nothing on top of another, and fit for any viewer."""

from itertools import combinations, pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converter.errors import RecipeError
from converter.inspect import draw_model
from converter.report.graph import draw_graph, svg_file
from converter.report.layered import lay_out
from converter.tflite_schema import Graph, Operator, Tensor, read_graph
from edge_agent.errors import ModelError
from tests.converter.conftest import EXAMPLES

SOURCE = EXAMPLES / "digits_v2.tflite"
SIZE, GAP = (100.0, 40.0), (10.0, 20.0)
SVG = "{http://www.w3.org/2000/svg}"


@st.composite
def graphs(draw: st.DrawFn) -> tuple[int, list[tuple[int, int]]]:
    count = draw(st.integers(1, 14))
    pairs = list(combinations(range(count), 2))
    return count, draw(st.lists(st.sampled_from(pairs), unique=True, max_size=25)) if pairs else []


@given(graphs())
@settings(max_examples=150)
def test_nodes_never_overlap_and_edges_point_down(graph: tuple[int, list[tuple[int, int]]]) -> None:
    count, edges = graph
    layout = lay_out(count, edges, size=SIZE, gap=GAP)
    for (x, y), (other_x, other_y) in combinations(layout.nodes, 2):
        assert abs(x - other_x) >= SIZE[0] + GAP[0] - 0.01 or abs(y - other_y) >= SIZE[1] + GAP[1] - 0.01
    for (start, end), points in zip(edges, layout.edges, strict=True):
        assert (points[0], points[-1]) == (layout.nodes[start], layout.nodes[end])
        assert all(below[1] > above[1] for above, below in pairwise(points))
        for x, y in points[1:-1]:  # a long edge goes around the nodes on its way
            assert all(abs(x - left) > SIZE[0] / 2 or abs(y - top) > SIZE[1] / 2 for left, top in layout.nodes)
    for x, y in layout.nodes:
        assert SIZE[0] / 2 - 0.01 <= x <= layout.width - SIZE[0] / 2 + 0.01
        assert SIZE[1] / 2 - 0.01 <= y <= layout.height - SIZE[1] / 2 + 0.01
    assert lay_out(count, edges, size=SIZE, gap=GAP) == layout


def test_a_chain_with_a_shortcut_stays_straight() -> None:
    layout = lay_out(5, [(0, 1), (1, 2), (2, 3), (1, 3), (3, 4)], size=SIZE, gap=GAP)
    assert len({x for x, _ in layout.nodes}) == 1
    assert len(layout.edges[3]) == 3


def test_a_circle_of_a_damaged_graph_is_drawn_somehow() -> None:
    assert len(lay_out(3, [(0, 1), (1, 2), (2, 1)], size=SIZE, gap=GAP).nodes) == 3


def test_nothing_is_laid_out_as_nothing() -> None:
    assert lay_out(0, [], size=SIZE, gap=GAP).nodes == ()


def test_every_operator_input_and_output_is_drawn() -> None:
    graph = read_graph(SOURCE.read_bytes())
    root = ET.fromstring(svg_file(draw_graph(graph, "digits")))
    words = [text.text or "" for text in root.iter(f"{SVG}text")]
    assert [word for word in words if word in {operator.name for operator in graph.operators}] == [
        operator.name for operator in graph.operators
    ]
    assert {"image", "scores"} <= set(words)
    assert "884,736 MACs, 13,952 B" in words
    assert "1x16x16x32 float32" in words
    title = root.find(f"{SVG}title")
    assert title is not None
    assert title.text == "Graph of digits"


def test_names_of_tensors_are_escaped() -> None:
    hostile = "</text><script>alert(1)</script>&"
    tensors = tuple(
        Tensor(f"{hostile}{number}", "FLOAT32", (1,), (1,), constant=False, quantized=False, finite=True)
        for number in range(2)
    )
    graph = Graph((0,), (1,), tensors, (Operator(hostile, (0,), (1,)),), ())
    content = svg_file(draw_graph(graph, hostile))
    assert b"<script" not in content
    ET.fromstring(content)


@pytest.mark.parametrize("name", ["graph.svg", "graph.html"])
def test_a_picture_is_written_beside_what_is_there(name: str, int8: Path, tmp_path: Path) -> None:
    target = tmp_path / name
    for source in (SOURCE, int8):
        draw_model(source, target, force=source == int8)
        content = target.read_text(encoding="utf-8")
        assert f"Graph of {source.name}" in content
        assert "http" not in content.replace('xmlns="http://www.w3.org/2000/svg"', "")
    with pytest.raises(RecipeError, match="exists"):
        draw_model(SOURCE, target, force=False)
    assert target.read_text(encoding="utf-8") == content


def test_what_cannot_be_drawn_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"\.svg or \.html"):
        draw_model(SOURCE, tmp_path / "graph.png", force=False)
    (tmp_path / "page.tflite").write_text("<html></html>")
    with pytest.raises(ModelError, match="HTML"):
        draw_model(tmp_path / "page.tflite", tmp_path / "graph.svg", force=False)
    assert [path.name for path in tmp_path.iterdir()] == ["page.tflite"]
