"""Train the example's models. Seeded: the same TensorFlow on the same machine writes the same files.

    python -m examples.digits.train            # needs pip install 'edge-deploy[keras]' and scikit-learn

`digits_v1` learned from few pictures. `digits_v2` keeps all its layers but the last, and only that one is trained
again, on all pictures: converted with the same recipe and data, most of its bytes are those of version 1.
"""

import os
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf

from converter.frontends.contract import TFLITE_NAME
from converter.frontends.keras import convert_keras
from examples.digits import dataset
from examples.digits.training import build, fit, pixels

HERE = Path(__file__).parent
FEW = 350  # pictures version 1 learns from


def main() -> None:
    tf.config.experimental.enable_op_determinism()
    trained_on, held_out = dataset.load(held_out=False), dataset.load(held_out=True)
    _train_pictures(trained_on, held_out)
    _train_linescan(trained_on, held_out)
    (HERE / "labels.txt").write_text("".join(f"{digit}\n" for digit in range(10)), encoding="utf-8")


def _train_pictures(trained_on: dataset.Digits, held_out: dataset.Digits) -> None:
    layers = keras.layers
    model = build(seed=7, channels=12, hidden=160)
    pictures, test = pixels(trained_on), pixels(held_out)
    fit(model, pictures[:FEW], trained_on.classes[:FEW], epochs=12, rate=1e-3)
    _save(model, "digits_v1", test, held_out.classes, keras_too=False)

    backbone = keras.Model(model.inputs, model.layers[-2].output)
    features = backbone.predict(pictures, verbose=0)
    head = keras.Sequential([layers.Input(features.shape[1:]), layers.Dense(10, activation="softmax")])
    fit(head, features, trained_on.classes, epochs=100, rate=1e-3)
    model.layers[-1].set_weights(head.get_weights())
    _save(model, "digits_v2", test, held_out.classes, keras_too=False)


def _train_linescan(trained_on: dataset.Digits, held_out: dataset.Digits) -> None:
    layers = keras.layers
    rows, test = trained_on.values.astype(np.float32), held_out.values.astype(np.float32)

    def build() -> Any:
        keras.utils.set_random_seed(7)
        return keras.Sequential(
            [
                layers.Input((8, 8), name="rows"),
                layers.Conv1D(32, 3, padding="same", activation="relu"),
                layers.Conv1D(32, 3, padding="same", activation="relu"),
                layers.Flatten(),
                layers.Dense(32, activation="relu"),
                layers.Dense(10, activation="softmax", name="scores"),
            ],
            name="linescan",
        )

    for version, epochs in (("v1", 6), ("v2", 40)):
        model = build()
        fit(model, rows, trained_on.classes, epochs=epochs, rate=1e-3)
        _save(model, f"linescan_{version}", test, held_out.classes, keras_too=True)


def _save(model: Any, name: str, test: Any, classes: Any, *, keras_too: bool) -> None:
    accuracy = float(np.mean(np.argmax(model.predict(test, verbose=0), axis=1) == classes))
    with tempfile.TemporaryDirectory() as temporary:
        source = Path(temporary) / f"{name}.keras"
        model.save(source)
        convert_keras(source, Path(temporary))
        content = (Path(temporary) / TFLITE_NAME).read_bytes()
        if keras_too:
            (HERE / source.name).write_bytes(source.read_bytes())
    (HERE / f"{name}.tflite").write_bytes(content)
    print(f"{name}: accuracy {accuracy:.4f} on {len(classes)} held-out digits, {len(content)} bytes")


if __name__ == "__main__":
    main()
