"""A small convolutional net on the digits: what the example's own training and the benchmark of bytes share."""

import os
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from PIL import Image

from examples.digits import dataset

INPUT_PX = 32


def build(*, seed: int, channels: int, hidden: int) -> Any:
    """An untrained net for pictures of 32 by 32 pixels, 0 to 1, with so many channels and hidden units."""
    layers = keras.layers
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            layers.Input((INPUT_PX, INPUT_PX, 1), name="image"),
            layers.Conv2D(channels, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(hidden, activation="relu"),
            layers.Dense(10, activation="softmax", name="scores"),
        ],
        name="digits",
    )


def fit(model: Any, inputs: Any, classes: Any, *, epochs: int, rate: float) -> None:
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy")
    model.fit(inputs, classes, epochs=epochs, batch_size=32, verbose=0)


def pixels(digits: dataset.Digits) -> Any:
    """What the device makes of the pictures: 32x32, bilinear, 0 to 1."""
    size = (INPUT_PX, INPUT_PX)
    small = [dataset.picture(values).resize(size, Image.Resampling.BILINEAR) for values in digits.values]
    return np.stack([np.asarray(picture, np.float32) / 255 for picture in small])[..., None]
