"""Trains the models of `quantize_speed`: `python -m benchmarks.quantize_models FOLDER`. Needs TensorFlow.

MobileNetV2 (1.0) and MobileNetV3Small at 224, a few epochs on scikit-learn's digits: weights that have learned
something, for on random ones every scheme answers wildly. Of each the SavedModel, which TensorFlow quantizes, and the
float .tflite. Files that are there already are kept.
"""

import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf

from examples.digits import dataset

NAMES = ("mobilenet_v2", "mobilenet_v3_small")
_PX, _EPOCHS, _BATCH = 224, 3, 32
_MOMENTUM = 0.9  # of batch normalization: Keras's 0.999 needs thousands of steps


def main(folder: Path) -> None:
    """Write `NAME_saved/` and `NAME.tflite` for each."""
    for name in NAMES:
        if (folder / f"{name}.tflite").exists():
            continue
        _export(_trained(name), folder / f"{name}_saved")
        content = tf.lite.TFLiteConverter.from_saved_model(str(folder / f"{name}_saved")).convert()
        (folder / f"{name}.tflite").write_bytes(content)


def _export(model: Any, saved: Path) -> None:
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint(
        "serving_default",
        lambda image: {"scores": model(image, training=False)},
        input_signature=[tf.TensorSpec([1, _PX, _PX, 3], tf.float32, name="image")],
    )
    archive.write_out(str(saved))


def _trained(name: str) -> Any:
    keras.utils.set_random_seed(0)
    if name == "mobilenet_v2":
        model = keras.applications.MobileNetV2(weights=None, classes=10)
    else:
        model = keras.applications.MobileNetV3Small(weights=None, classes=10, include_preprocessing=False)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = _MOMENTUM
    digits = dataset.load(held_out=False)
    pictures = tf.data.Dataset.from_tensor_slices((digits.values.astype(np.float32), digits.classes))
    batches = pictures.shuffle(2000, seed=0).batch(_BATCH).map(lambda values, classes: (_pixels(values), classes))
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(batches, epochs=_EPOCHS, verbose=0)
    return model


def _pixels(values: Any) -> Any:
    return tf.repeat(tf.image.resize(values[..., None] / 8 - 1, (_PX, _PX)), 3, -1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
