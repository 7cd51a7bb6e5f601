"""Keras models, converted and held to what Keras itself answers."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from converter.convert import convert
from converter.errors import ConversionError
from converter.frontends.contract import Wanted
from edge_agent.release.archive import read_artifact
from edge_agent.release.manifest import REPORT_FILE
from tests.converter.conftest import EXAMPLES, Digits, order, row_accuracy, unpack
from tests.converter.test_shared_models import activity_accuracy
from tests.frontends.conftest import run_script
from tests.frontends.opening import answer, opened, refused


@pytest.mark.cold
def test_a_keras_model_becomes_the_artifact_its_tflite_becomes(digits: Digits, tmp_path: Path) -> None:
    output = tmp_path / "linescan-1.edge"
    recipe = EXAMPLES / "linescan.toml"
    source = EXAMPLES / "linescan_v1.keras"
    options = {"scheme": "int8"}
    convert(order(output, source=source, recipe=recipe, options=options, calibrate=digits.calibration_rows))
    assert row_accuracy(output, digits, tmp_path / "release") >= 0.9547 - 0.015
    report = json.loads(read_artifact(output).members[REPORT_FILE])
    assert report["tools"]["tensorflow"].startswith("2.")
    assert report["fidelity"]["outputs"][0]["name"] == "scores"

    again = tmp_path / "again" / "linescan-1.edge"
    convert(order(again, source=source, recipe=recipe, options=options, calibrate=digits.calibration_rows))
    assert again.read_bytes() == output.read_bytes()


# Every model that is needed here, made by one child: each would take seconds to load TensorFlow.
SCRIPT = """
import os
import numpy as np, keras, tf_keras
keras.utils.set_random_seed(7); tf_keras.utils.set_random_seed(7)
L = keras.layers

def small(K):
    i = K.Input((16, 16, 3), name="picture")
    x = K.layers.Conv2D(4, 3, activation="relu", name="first")(i)
    x = K.layers.DepthwiseConv2D(3, name="second")(x)
    x = K.layers.GlobalAveragePooling2D(name="pooled")(x)
    return K.Model(i, K.layers.Dense(3, activation="softmax", name="scores")(x))

small(keras).save("keras3.keras"); small(keras).save("keras3.h5")
small(tf_keras).save("keras2.keras"); small(tf_keras).save("keras2.h5")
small(keras).save_weights("only.weights.h5"); small(tf_keras).save_weights("only2.h5")

a, b = keras.Input((4,), name="left"), keras.Input((6,), name="right")
c = L.Concatenate()([a, b])
keras.Model([a, b], [L.Dense(2, name="one")(c), L.Dense(5, name="two")(c)]).save("ends.keras")

for K, name in ((keras, "dictionary.keras"), (tf_keras, "dictionary.h5")):
    a, b = K.Input((4,), name="zeta"), K.Input((6,), name="alpha")
    c = K.layers.Concatenate()([a, b])
    ends = {"z": a, "a": b}, {"second": K.layers.Dense(2, name="one")(c), "first": K.layers.Dense(5, name="two")(c)}
    K.Model(*ends).save(name)
keras.Sequential([L.Dense(3)]).save("unbuilt.keras")

i = keras.Input((5,), dtype="int64", name="words")
keras.Model(i, L.Dense(2)(L.Flatten()(L.Embedding(7, 3)(i)))).save("int64.keras")
i = keras.Input((5,), dtype="float64", name="precise")
keras.Model(i, L.Dense(2, dtype="float64")(i)).save("float64.keras")
i = keras.Input((None, None, 3), name="picture")
keras.Model(i, L.Dense(2)(L.GlobalAveragePooling2D()(L.Conv2D(2, 3)(i)))).save("open.keras")
i = keras.Input((7, 4), name="rows")
keras.Model(i, L.Dense(2)(L.LSTM(5)(i))).save("lstm.keras")
i = keras.Input((4,))
keras.Model(i, L.Identity()(keras.ops.erfinv(i))).save("erfinv.keras")

def spy(x):
    import os
    open(os.environ.get("SPY", "spied"), "w").close()
    return x * 2

# Keras 3 writes the code of a lambda into the file, and of a function only the name.
spying = lambda x: (open(__import__("os").environ.get("SPY", "spied"), "w").close(), x * 2)[1]
for name, K, code in (
    ("lambda3.keras", keras, spying), ("lambda2.h5", tf_keras, spy), ("lambda2.keras", tf_keras, spy)
):
    i = K.Input((4,))
    K.Model(i, K.layers.Dense(2)(K.layers.Lambda(code, name="spying", output_shape=(4,))(i))).save(name)
os.remove("spied")

class Mine(tf_keras.layers.Layer):
    def call(self, x):
        return x
i = tf_keras.Input((4,))
tf_keras.Model(i, Mine()(i)).save("mine.h5")

m = small(keras); w = m.get_weights(); w[0][0, 0, 0, 0] = np.nan; m.set_weights(w); m.save("nan.keras")
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keras")
    run_script(SCRIPT, folder)
    return folder


@pytest.mark.parametrize("name", ["keras3.keras", "keras3.h5", "keras2.keras", "keras2.h5"])
def test_files_of_both_keras_agree_with_the_keras_that_wrote_them(name: str, made: Path, tmp_path: Path) -> None:
    source, described = opened(made / name, tmp_path)
    assert source.graph.input_names == ("picture",)
    assert source.graph.output_names == ("scores",)
    assert described.inputs[0].shape == (1, 16, 16, 3)
    assert ("tf_keras" in source.tools) == name.startswith("keras2")


@pytest.mark.parametrize(
    ("name", "four", "six"),
    [("ends.keras", "left", "right"), ("dictionary.keras", "zeta", "alpha"), ("dictionary.h5", "zeta", "alpha")],
)
def test_several_inputs_and_outputs_keep_their_names(
    name: str, four: str, six: str, made: Path, tmp_path: Path
) -> None:
    source, described = opened(made / name, tmp_path)
    graph = source.graph
    inputs = {name: tensor.shape for name, tensor in zip(graph.input_names, described.inputs, strict=True)}
    outputs = {name: tensor.shape for name, tensor in zip(graph.output_names, described.outputs, strict=True)}
    assert inputs == {four: (1, 4), six: (1, 6)}
    assert outputs == {"one": (1, 2), "two": (1, 5)}


@pytest.mark.parametrize("name", ["int64.keras", "lstm.keras"])
def test_words_by_number_and_recurrent_layers_agree(name: str, made: Path, tmp_path: Path) -> None:
    opened(made / name, tmp_path)


def test_a_model_is_cut_at_layers(made: Path, tmp_path: Path) -> None:
    source, described = opened(made / "keras3.keras", tmp_path, Wanted(inputs=("first",), outputs=("pooled",)))
    assert source.graph.output_names == ("pooled",)
    assert [tensor.shape for tensor in described.inputs] == [(1, 14, 14, 4)]
    error = refused(made / "keras3.keras", tmp_path / "again", Wanted(outputs=("pool",)))
    assert "no layer pool" in str(error)
    assert "pooled" in str(error.hint)


def test_open_sizes_are_refused_until_they_are_stated(made: Path, tmp_path: Path) -> None:
    error = refused(made / "open.keras", tmp_path)
    assert "not fixed" in str(error)
    assert "--input-shape picture=" in str(error.hint)
    _, described = opened(made / "open.keras", tmp_path / "again", Wanted(input_shapes={"picture": (1, 12, 10, 3)}))
    assert described.inputs[0].shape == (1, 12, 10, 3)


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("erfinv.keras", "no TFLite kernel for Erfinv", "replace the layers"),
        ("float64.keras", "input precise is float64", "cast it to float32"),
        ("unbuilt.keras", "saved before its inputs were known", "keras.Input"),
        ("nan.keras", "weights hold NaN", "export it again"),
        ("mine.h5", r"classes that Keras does not have \(Mine\)", "Keras layers"),
        ("only.weights.h5", "weights of a Keras model without the model", "load_weights"),
        ("only2.h5", "weights of a Keras model without the model", "load_weights"),
    ],
)
def test_what_cannot_be_converted_is_told_in_one_line(
    name: str, message: str, hint: str, made: Path, tmp_path: Path
) -> None:
    error = refused(made / name, tmp_path)
    assert re.search(message, str(error))
    assert hint in str(error.hint)


@pytest.mark.parametrize("name", ["lambda3.keras", "lambda2.keras", "lambda2.h5"])
def test_code_in_a_file_never_runs_unless_allowed(
    name: str, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spied = tmp_path / "spied"
    monkeypatch.setenv("SPY", str(spied))
    error = refused(made / name, tmp_path)
    assert "Lambda layers (spying)" in str(error)
    assert "--allow-code" in str(error.hint)
    assert not spied.exists()
    opened(made / name, tmp_path, Wanted(allow_code=True))
    assert spied.exists()  # the spy is real


@pytest.mark.parametrize("name", ["keras3.keras", "keras3.h5", "keras2.h5"])
def test_half_a_file_is_named_and_nothing_is_written(name: str, made: Path, tmp_path: Path) -> None:
    content = (made / name).read_bytes()
    half = tmp_path / name
    half.write_bytes(content[: len(content) // 2])
    with pytest.raises(ConversionError, match="not a whole") as caught:
        convert(order(tmp_path / "half-1.edge", source=half, recipe=None))
    assert caught.value.hint
    assert list(tmp_path.iterdir()) == [half]


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("name", "published", "wanted_accuracy"),
    [
        ("cifar10_resnet8.h5", "cifar10_resnet8_float", 1e-4),
        ("vww_96.h5", "vww_96_float", 1e-5),
        ("tm_fruit_keras_model.h5", "tm_fruit_v2_headswap", 1e-3),
    ],
)
def test_real_keras_2_models_agree_with_keras_and_with_what_their_authors_published(
    name: str, published: str, wanted_accuracy: float, shared_data: Path, tmp_path: Path
) -> None:
    source, described = opened(shared_data / "source_models" / name, tmp_path)
    scale = 255 if "cifar" in name else 1
    values = np.random.default_rng(1).random(described.inputs[0].shape, np.float32) * scale
    (ours,) = answer(source.path, values)
    (theirs,) = answer(shared_data / f"models/classification/{published}.tflite", values)
    assert np.abs(ours - theirs).max() <= wanted_accuracy


@pytest.mark.shared_data
def test_the_activity_model_agrees_with_keras_and_names_98_percent_of_the_windows(
    shared_data: Path, tmp_path: Path
) -> None:
    output = tmp_path / "har-1.edge"
    convert(
        order(
            output,
            source=shared_data / "source_models/har_cnn_8x8x8.keras",
            recipe=None,
            options={"scheme": "int8", "input": {"window": 52, "stride": 52}},
            calibrate=shared_data / "sensor/har",
        )
    )
    with unpack(output, tmp_path / "release") as model:
        assert activity_accuracy(model, shared_data / "sensor/har") >= 0.98
