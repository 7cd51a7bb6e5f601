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

from examples.digits import dataset
from examples.digits.training import build, fit, pixels

_FEW = 700  # pictures that the base learns from


def main(folder: Path) -> None:
    """Write `base.keras` and one file for each pair."""
    digits = dataset.load(held_out=False)
    pictures, classes = pixels(digits), digits.classes
    base = build(seed=7, channels=16, hidden=512)
    fit(base, pictures[:_FEW], classes[:_FEW], epochs=8, rate=1e-3)
    base.save(folder / "base.keras")

    head_only = _copy(base)
    for layer in head_only.layers[:-1]:
        layer.trainable = False
    fit(head_only, pictures, classes, epochs=4, rate=1e-3)
    head_only.save(folder / "head_only.keras")

    for name, rate, epochs in (("tuned_small", 1e-5, 1), ("tuned_large", 1e-4, 3)):
        tuned = _copy(base)
        fit(tuned, pictures[_FEW:], classes[_FEW:], epochs=epochs, rate=rate)
        tuned.save(folder / f"{name}.keras")

    retrained = build(seed=8, channels=16, hidden=512)
    fit(retrained, pictures, classes, epochs=8, rate=1e-3)
    retrained.save(folder / "retrained.keras")


def _copy(model: Any) -> Any:
    copied = keras.models.clone_model(model)
    copied.set_weights(model.get_weights())
    return copied


if __name__ == "__main__":
    main(Path(sys.argv[1]))
