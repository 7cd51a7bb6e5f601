"""Trains the models of `bytes`: `python -m benchmarks.bytes_models FOLDER`. A base, and what people make out of one.

A convolutional net of a million weights on scikit-learn's digits, Keras, a few seconds for each. All pairs are real
training and, once `bytes` has converted them to int8, real quantization; nothing is perturbed by hand.
"""

import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from PIL import Image

from examples.digits import dataset

_FEW = 700  # pictures that the base learns from
_PX = 32


def main(folder: Path) -> None:
    """Write `base.keras` and one file for each pair."""
    digits = dataset.load(held_out=False)
    pictures, classes = _pixels(digits), digits.classes
    base = _build(seed=7)
    _fit(base, pictures[:_FEW], classes[:_FEW], epochs=8, rate=1e-3)
    base.save(folder / "base.keras")

    head_only = _copy(base)
    for layer in head_only.layers[:-1]:
        layer.trainable = False
    _fit(head_only, pictures, classes, epochs=4, rate=1e-3)
    head_only.save(folder / "head_only.keras")

    for name, rate, epochs in (("tuned_small", 1e-5, 1), ("tuned_large", 1e-4, 3)):
        tuned = _copy(base)
        _fit(tuned, pictures[_FEW:], classes[_FEW:], epochs=epochs, rate=rate)
        tuned.save(folder / f"{name}.keras")

    retrained = _build(seed=8)
    _fit(retrained, pictures, classes, epochs=8, rate=1e-3)
    retrained.save(folder / "retrained.keras")


def _build(*, seed: int) -> Any:
    layers = keras.layers
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            layers.Input((_PX, _PX, 1), name="image"),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(512, activation="relu"),
            layers.Dense(10, activation="softmax", name="scores"),
        ],
        name="digits",
    )


def _copy(model: Any) -> Any:
    copied = keras.models.clone_model(model)
    copied.set_weights(model.get_weights())
    return copied


def _fit(model: Any, inputs: Any, classes: Any, *, epochs: int, rate: float) -> None:
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy")
    model.fit(inputs, classes, epochs=epochs, batch_size=32, verbose=0)


def _pixels(digits: dataset.Digits) -> Any:
    size = (_PX, _PX)
    small = [dataset.picture(values).resize(size, Image.Resampling.BILINEAR) for values in digits.values]
    return np.stack([np.asarray(picture, np.float32) / 255 for picture in small])[..., None]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
