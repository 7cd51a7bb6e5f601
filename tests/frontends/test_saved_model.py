"""SavedModels, converted and held to what their own signatures answer."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from converter.convert import convert
from converter.frontends.contract import Wanted
from edge_agent.errors import EdgeError
from edge_agent.release.archive import read_artifact
from tests.converter.conftest import order
from tests.frontends.conftest import run_script
from tests.frontends.opening import answer, opened, refused

SCRIPT = """
import numpy as np, keras, tensorflow as tf
keras.utils.set_random_seed(7); tf.random.set_seed(7)

i = keras.Input((8, 8, 1), name="picture")
x = keras.layers.Flatten()(keras.layers.Conv2D(4, 3)(i))
model = keras.Model(i, keras.layers.Dense(3, name="scores")(x))
tf.saved_model.save(model, "untracked")  # without weights, if TensorFlow's own converter takes it
model.export("exported", verbose=False)

class Two(tf.Module):
    def __init__(self):
        self.w = tf.Variable(np.arange(6, dtype=np.float32).reshape(3, 2))
    @tf.function(input_signature=[tf.TensorSpec([None, 3], name="row")])
    def double(self, row):
        return {"doubled": 2 * (row @ self.w), "sum": tf.reduce_sum(row, 1)}
    @tf.function(input_signature=[tf.TensorSpec([None, 3], name="row")])
    def halve(self, row):
        return {"halved": (row @ self.w) / 2}
two = Two()
tf.saved_model.save(two, "two", signatures={"double": two.double, "halve": two.halve})
tf.saved_model.save(two, "none")

class Odd(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="jpeg")])
    def text(self, jpeg):
        return {"length": tf.strings.length(jpeg)}
    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float64, name="x")])
    def double(self, x):
        return {"y": x * 2}
    @tf.function(input_signature=[tf.TensorSpec([None, None], name="x")])
    def open(self, x):
        return {"y": tf.nn.softmax(x)}
    @tf.function(input_signature=[tf.TensorSpec(None, name="x")])
    def rankless(self, x):
        return {"y": tf.nn.softmax(x)}
    @tf.function(input_signature=[tf.TensorSpec([None, 3], name="x")])
    def special(self, x):
        return {"y": tf.math.erfinv(x / 2)}
    @tf.function(input_signature=[tf.TensorSpec([None, 3], name="x")])
    def writes(self, x):
        tf.io.write_file("spied", tf.strings.as_string(x[0, 0]))
        return {"y": x + 1}
    @tf.function(input_signature=[tf.TensorSpec([None, 3], name="x")])
    def named(self, x):
        return {"class": tf.strings.as_string(x), "score": x + 1}
odd = Odd()
names = ("text", "double", "open", "rankless", "special", "writes", "named")
tf.saved_model.save(odd, "odd", signatures={name: getattr(odd, name) for name in names})

with tf.Graph().as_default(), tf.compat.v1.Session() as session:
    x = tf.compat.v1.placeholder(tf.float32, [None, 3], name="x")
    w = tf.compat.v1.get_variable("w", initializer=np.arange(6, dtype=np.float32).reshape(3, 2))
    y = tf.nn.softmax(tf.matmul(x, w), name="y")
    session.run(tf.compat.v1.global_variables_initializer())
    tf.compat.v1.saved_model.simple_save(session, "simple", {"row": x}, {"scores": y})
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved_model")
    run_script(SCRIPT, folder)
    return folder


def test_weights_that_the_directory_does_not_track_are_not_lost(made: Path, tmp_path: Path) -> None:
    source, _ = opened(made / "untracked", tmp_path)
    assert not {operator.name for operator in source.graph.operators} & {"VAR_HANDLE", "READ_VARIABLE"}
    assert sum(tensor.constant for tensor in source.graph.tensors) >= 4
    exported, _ = opened(made / "exported", tmp_path / "exported")
    values = np.random.default_rng(1).random((1, 8, 8, 1), np.float32)
    assert np.abs(answer(source.path, values)[0] - answer(exported.path, values)[0]).max() <= 1e-5


@pytest.mark.cold
def test_a_simple_save_of_tensorflow_1_keeps_its_names(made: Path, tmp_path: Path) -> None:
    source, described = opened(made / "simple", tmp_path)
    assert (source.graph.input_names, source.graph.output_names) == (("row",), ("scores",))
    assert described.inputs[0].shape == (1, 3)
    assert answer(source.path, np.ones((1, 3), np.float32))[0] == pytest.approx(
        np.exp([[6, 9]]) / np.exp([6, 9]).sum(), abs=1e-5
    )


def test_one_of_several_signatures_is_chosen_by_name(made: Path, tmp_path: Path) -> None:
    error = refused(made / "two", tmp_path)
    assert "2 signatures: double, halve" in str(error)
    assert "--signature" in str(error.hint)
    error = refused(made / "two", tmp_path, Wanted(signature="third"))
    assert "double, halve" in str(error.hint)
    source, _ = opened(made / "two", tmp_path, Wanted(signature="halve"))
    assert source.graph.signatures[0].key == "halve"
    assert answer(source.path, np.ones((1, 3), np.float32))[0] == pytest.approx(np.array([[3, 4.5]]))


def test_outputs_of_a_signature_are_chosen_by_name(made: Path, tmp_path: Path) -> None:
    source, _ = opened(made / "two", tmp_path, Wanted(signature="double", outputs=("doubled",)))
    assert source.graph.output_names == ("doubled",)
    source, _ = opened(made / "odd", tmp_path, Wanted(signature="named", outputs=("score",)))
    assert source.graph.output_names == ("score",)


def test_the_chosen_signature_is_the_one_that_the_artifact_runs(made: Path, tmp_path: Path) -> None:
    output = tmp_path / "halve-1.edge"
    done = convert(order(output, source=made / "two", recipe=None, options={"signature": "halve", "task": "raw"}))
    assert done.fidelity.comparison.samples > 0
    assert read_artifact(output).manifest.signature == "halve"


@pytest.mark.parametrize(
    ("signature", "message", "hint"),
    [
        ("text", "input jpeg is text", "--signature"),
        ("double", "input x is float64", "float32"),
        ("open", "not fixed", "--input-shape x="),
        ("rankless", "input x has no shape", "--input-shape x="),
        ("special", "no TFLite kernel for Erfinv", "Custom and Flex"),
        ("writes", "WriteFile", "export only"),
        ("named", "output class is text", "--outputs"),
    ],
)
def test_what_cannot_be_converted_is_told_in_one_line(
    signature: str, message: str, hint: str, made: Path, tmp_path: Path
) -> None:
    error = refused(made / "odd", tmp_path, Wanted(signature=signature))
    assert message in str(error)
    assert hint in str(error.hint)
    assert not Path("spied").exists()


@pytest.mark.parametrize(("signature", "shape"), [("open", (1, 5)), ("rankless", (1, 4, 5))])
def test_a_size_that_is_stated_is_taken(signature: str, shape: tuple[int, ...], made: Path, tmp_path: Path) -> None:
    _, described = opened(made / "odd", tmp_path, Wanted(signature=signature, input_shapes={"x": shape}))
    assert described.inputs[0].shape == shape


def test_a_directory_without_signatures_is_named(made: Path, tmp_path: Path) -> None:
    assert "no signatures" in str(refused(made / "none", tmp_path))


@pytest.mark.parametrize("missing", ["saved_model.pb", "variables.index", "variables.data-00000-of-00001", "variables"])
@pytest.mark.parametrize("how", ["cut", "gone"])
def test_a_directory_that_is_not_whole_is_named(missing: str, how: str, made: Path, tmp_path: Path) -> None:
    copied = tmp_path / "model"
    shutil.copytree(made / "exported", copied)
    path = next(copied.rglob(missing))
    if path.is_dir():
        shutil.rmtree(path)
    elif how == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(EdgeError) as caught:
        convert(order(tmp_path / "half-1.edge", source=copied, recipe=None))
    assert caught.value.hint
    assert "Traceback" not in str(caught.value)
    assert list(tmp_path.iterdir()) == [copied]


@pytest.mark.shared_data
def test_the_keyword_spotter_agrees_with_its_saved_model_and_hears_yes(shared_data: Path, tmp_path: Path) -> None:
    source, described = opened(shared_data / "source_models/kws_saved_model", tmp_path)
    assert described.inputs[0].shape == (1, 49, 10, 1)
    features = np.loadtxt(shared_data / "audio/yes_1000ms_mfcc_49x10.csv", delimiter=",", dtype=np.float32)
    (scores,) = answer(source.path, features.reshape(1, 49, 10, 1))
    assert int(scores.argmax()) == 9
    assert scores.max() == pytest.approx(0.999, abs=0.002)
