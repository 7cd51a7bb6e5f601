"""TensorFlow's own post-training quantization of source models, as its guide has it: `python -m
benchmarks.source_models_tensorflow FOLDER`. Needs TensorFlow and tf_keras.

FOLDER/plan.json has for each model its name, path and kind; FOLDER/NAME.npz holds the samples to calibrate on. Leaves
FOLDER/NAME.tensorflow.{dynamic,int8}.tflite, and prints how many seconds each took, without the imports.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf
import tf_keras


def main(folder: Path) -> dict[str, float]:
    """Seconds, by name and scheme."""
    seconds = {}
    for planned in json.loads((folder / "plan.json").read_text(encoding="utf-8")):
        if not planned["kind"]:
            continue
        with np.load(folder / f"{planned['name']}.npz") as stored:
            (samples,) = (stored[name] for name in stored.files)
        for scheme in ("dynamic", "int8"):
            started = time.perf_counter()
            converter = _converter(planned["path"], planned["kind"], planned["inputs"], samples.shape[1:])
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            if scheme == "int8":
                converter.representative_dataset = _dataset(samples)
                converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
                converter.inference_input_type = converter.inference_output_type = tf.int8
            content = converter.convert()
            seconds[f"{planned['name']}.{scheme}"] = time.perf_counter() - started
            (folder / f"{planned['name']}.tensorflow.{scheme}.tflite").write_bytes(content)
    return seconds


def _converter(path: str, kind: str, inputs: list[str], shape: tuple[int, ...]) -> Any:
    if kind == "saved_model":
        return tf.lite.TFLiteConverter.from_saved_model(path)
    if kind == "frozen":
        return tf.compat.v1.lite.TFLiteConverter.from_frozen_graph(
            path, inputs, ["labels_softmax"], {inputs[0]: list(shape)}
        )
    loader = keras if kind == "keras" else tf_keras
    return tf.lite.TFLiteConverter.from_keras_model(loader.models.load_model(path, compile=False))


def _dataset(samples: Any) -> Any:
    def dataset() -> Iterator[list[Any]]:
        for sample in samples:
            yield [sample]

    return dataset


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
