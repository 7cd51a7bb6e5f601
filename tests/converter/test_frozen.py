"""A frozen graph, read without TensorFlow: where it begins and ends, and what is refused."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converter.errors import ConversionError
from converter.frontends.contract import Wanted
from converter.frontends.frozen import convert_frozen
from converter.frontends.graph_def import Ends, find_ends, reachable, read_nodes
from converter.frontends.onnx_model.wire import length_prefixed

Nodes = list[tuple[str, str, tuple[str, ...]]]
PLAIN: Nodes = [
    ("image", "Placeholder", ()),
    ("unused", "Placeholder", ()),
    ("w", "Const", ()),
    ("product", "MatMul", ("image", "w")),
    ("halves", "Split", ("w", "product")),
    ("left", "Relu", ("halves",)),
    ("right", "Relu", ("halves:1", "^left")),
]
SOUND: Nodes = [
    ("wav", "Placeholder", ()),
    ("samples", "DecodeWav", ("wav",)),
    ("spectrum", "AudioSpectrogram", ("samples",)),
    ("features", "Mfcc", ("spectrum", "samples:1")),
    ("scores", "Softmax", ("features",)),
]


def graph(path: Path, nodes: Nodes) -> Path:
    content = b""
    for name, operator, inputs in nodes:
        taken = b"".join(length_prefixed(3, one.encode()) for one in inputs)
        content += length_prefixed(1, length_prefixed(1, name.encode()) + length_prefixed(2, operator.encode()) + taken)
    path.write_bytes(content)
    return path


def ends(tmp_path: Path, nodes: Nodes, inputs: tuple[str, ...] = (), outputs: tuple[str, ...] = ()) -> Ends:
    path = graph(tmp_path / "graph.pb", nodes)
    return find_ends(read_nodes(path), inputs, outputs, path)


def test_inputs_are_the_placeholders_that_are_used_and_outputs_what_nobody_takes(tmp_path: Path) -> None:
    assert ends(tmp_path, PLAIN) == Ends(("image",), ("left", "right"))
    assert ends(tmp_path, SOUND) == Ends(("wav",), ("scores",))


def test_a_graph_is_cut_where_somebody_says(tmp_path: Path) -> None:
    assert ends(tmp_path, PLAIN, ("halves:1",), ("right",)) == Ends(("halves:1",), ("right",))
    assert ends(tmp_path, PLAIN, (), ("product",)) == Ends(("image",), ("product",))
    nodes = read_nodes(tmp_path / "graph.pb")
    assert set(reachable(nodes, ["right"], ["halves:1"])) == {"right", "halves"}
    assert set(reachable(nodes, ["left"], ["halves:1"])) == {"left", "halves", "w", "product", "image"}


@pytest.mark.parametrize(
    ("inputs", "outputs", "message", "hint"),
    [
        (("imag",), (), "has no node imag", "image"),
        ((), ("nothing_like_it",), "has no node nothing_like_it", "product, halves, left, right"),
        (("left",), ("right",), "do not depend on left", "--outputs"),
        (("halves:1",), (), "depend on image too", "--inputs"),
        ((), ("w",), "depend on no placeholder", "--inputs"),
    ],
)
def test_wrong_names_are_told_with_the_right_ones(
    inputs: tuple[str, ...], outputs: tuple[str, ...], message: str, hint: str, tmp_path: Path
) -> None:
    with pytest.raises(ConversionError, match=message) as caught:
        ends(tmp_path, PLAIN, inputs, outputs)
    assert hint in str(caught.value.hint)


def test_decoding_of_files_in_the_graph_is_named_with_the_place_to_cut(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"decodes files itself \(AudioSpectrogram, DecodeWav, Mfcc\)") as caught:
        convert_frozen(graph(tmp_path / "sound.pb", SOUND), tmp_path, Wanted())
    assert "--inputs features" in str(caught.value.hint)


@pytest.mark.parametrize("operator", ["PyFunc", "WriteFile"])
def test_operators_that_reach_out_of_the_graph_are_refused(operator: str, tmp_path: Path) -> None:
    path = graph(tmp_path / "graph.pb", [("x", "Placeholder", ()), ("y", operator, ("x",))])
    with pytest.raises(ConversionError, match=f"runs Python: {operator}"):
        convert_frozen(path, tmp_path, Wanted())


@pytest.mark.parametrize("keep", [10, 60, -1])
def test_a_cut_off_graph_is_named(keep: int, tmp_path: Path) -> None:
    path = graph(tmp_path / "graph.pb", PLAIN)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ConversionError, match="not a whole frozen graph") as caught:
        convert_frozen(path, tmp_path, Wanted())
    assert caught.value.hint


def test_a_graph_that_lacks_a_node_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="it has no w, which other nodes take"):
        read_nodes(graph(tmp_path / "graph.pb", [node for node in PLAIN if node[0] != "w"]))


@given(st.binary(max_size=200))
def test_whatever_stands_in_the_file_only_our_error_comes_out(content: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "graph.pb"
        path.write_bytes(content)
        try:
            find_ends(read_nodes(path), (), (), path)
        except ConversionError as error:
            assert error.hint  # noqa: PT017  # any result is fine, any other error is not
