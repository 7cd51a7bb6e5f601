"""Frozen graphs of TensorFlow 1, converted and held to what a session of TensorFlow answers for the whole graph."""

from pathlib import Path

import numpy as np
import pytest

from converter.frontends.contract import Wanted
from tests.frontends.conftest import run_script
from tests.frontends.opening import answer, opened, refused

SCRIPT = """
import numpy as np, tensorflow as tf
v1 = tf.compat.v1
random = np.random.default_rng(7)

def frozen(name, build):
    with tf.Graph().as_default() as graph:
        build()
        open(name, "wb").write(graph.as_graph_def().SerializeToString())

def plain():
    x = v1.placeholder(tf.float32, [None, 8, 8, 2], name="image")
    keep = v1.placeholder_with_default(1.0, [], name="keep")
    y = tf.nn.relu(tf.nn.conv2d(x, tf.constant(random.random((3, 3, 2, 4), np.float32)), 1, "SAME"), name="body/relu")
    left, right = tf.split(y * keep, 2, axis=3, name="body/split")
    tf.nn.softmax(tf.reduce_mean(left, [1, 2]), name="head/left")
    tf.reduce_max(right, [1, 2], name="head/right")
frozen("plain.pb", plain)

def nan():
    x = v1.placeholder(tf.float32, [None, 4], name="x")
    tf.matmul(x, tf.constant(np.full((4, 3), np.nan, np.float32)), name="y")
frozen("nan.pb", nan)

def sizeless():
    x = v1.placeholder(tf.float32, name="x")
    tf.nn.softmax(x, name="y")
frozen("sizeless.pb", sizeless)

def special():
    x = v1.placeholder(tf.float32, [None, 4], name="x")
    tf.identity(tf.math.erfinv(x / 4) + 1, name="y")
frozen("special.pb", special)

def whole():
    x = v1.placeholder(tf.int64, [None, 4], name="ids")
    tf.gather(tf.constant(random.random((5, 3), np.float32)), x, name="y")
frozen("ids.pb", whole)

graph = v1.GraphDef(); graph.ParseFromString(open("plain.pb", "rb").read())
for node in graph.node:
    if node.op == "Softmax":
        node.op = "MyOwnSoftmax"
open("custom.pb", "wb").write(graph.SerializeToString())
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("frozen")
    run_script(SCRIPT, folder)
    return folder


@pytest.mark.cold
def test_inputs_and_outputs_are_found_and_agree_with_tensorflow(made: Path, tmp_path: Path) -> None:
    source, described = opened(made / "plain.pb", tmp_path)
    assert source.graph.input_names == ("image",)
    assert set(source.graph.output_names) == {"head_left", "head_right"}
    assert described.inputs[0].shape == (1, 8, 8, 2)


@pytest.mark.parametrize(
    ("inputs", "outputs", "shape"),
    [
        (("body/relu",), (), (1, 8, 8, 4)),
        (("body/split:1",), ("head/right",), (1, 8, 8, 2)),
        ((), ("body/split:1",), (1, 8, 8, 2)),
    ],
)
def test_a_graph_that_is_cut_in_the_middle_agrees_with_the_whole_one(
    inputs: tuple[str, ...], outputs: tuple[str, ...], shape: tuple[int, ...], made: Path, tmp_path: Path
) -> None:
    _, described = opened(made / "plain.pb", tmp_path, Wanted(inputs=inputs, outputs=outputs))
    assert described.inputs[0].shape == shape


def test_numbers_of_words_are_taken(made: Path, tmp_path: Path) -> None:
    _, described = opened(made / "ids.pb", tmp_path)
    assert described.inputs[0].dtype == np.int64


def test_a_shape_that_the_graph_lacks_is_asked_for(made: Path, tmp_path: Path) -> None:
    error = refused(made / "sizeless.pb", tmp_path)
    assert "no shape" in str(error)
    assert "--input-shape x=" in str(error.hint)
    _, described = opened(made / "sizeless.pb", tmp_path, Wanted(input_shapes={"": (1, 6)}))
    assert described.inputs[0].shape == (1, 6)


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("nan.pb", "weights hold NaN", "export it again"),
        ("special.pb", "no TFLite kernel for Erfinv", "--outputs"),
        ("custom.pb", "no operator MyOwnSoftmax", "--outputs"),
    ],
)
def test_what_cannot_be_converted_is_told_in_one_line(
    name: str, message: str, hint: str, made: Path, tmp_path: Path
) -> None:
    error = refused(made / name, tmp_path)
    assert message in str(error)
    assert hint in str(error.hint)


def test_half_a_graph_is_named(made: Path, tmp_path: Path) -> None:
    content = (made / "plain.pb").read_bytes()
    (tmp_path / "half.pb").write_bytes(content[: len(content) // 2])
    assert "not a whole frozen graph" in str(refused(tmp_path / "half.pb", tmp_path / "work"))


@pytest.mark.shared_data
def test_the_keyword_graph_is_cut_behind_its_sound_operators(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "source_models/kws_DNN_S.pb"
    error = refused(path, tmp_path)
    assert "AudioSpectrogram, DecodeWav, Mfcc" in str(error)
    assert "--inputs Mfcc" in str(error.hint)
    source, described = opened(path, tmp_path, Wanted(inputs=("Mfcc",)))
    assert described.inputs[0].shape == (1, 25, 10)
    assert source.graph.output_names == ("labels_softmax",)
    run_script(
        f"""
import numpy as np, tensorflow as tf
graph = tf.compat.v1.GraphDef(); graph.ParseFromString(open({str(path)!r}, "rb").read())
with tf.Graph().as_default(), tf.compat.v1.Session() as session:
    tf.import_graph_def(graph, name="")
    sound = open({str(shared_data / "audio/yes_1000ms.wav")!r}, "rb").read()
    mfcc, scores = session.run(["Mfcc:0", "labels_softmax:0"], {{"wav_data:0": sound}})
np.savez("yes.npz", mfcc=mfcc, scores=scores)
""",
        tmp_path,
    )
    with np.load(tmp_path / "yes.npz") as heard:
        (scores,) = answer(source.path, heard["mfcc"])
        assert np.abs(scores - heard["scores"]).max() <= 1e-4
    labels = (shared_data / "labels/kws_frozen_labels.txt").read_text(encoding="utf-8").split()
    assert labels[int(scores.argmax())] == "yes"
