"""TensorFlow's own post-training quantization, as its guide has it: `python -m benchmarks.quantize_tensorflow SAVED
PICTURES RESULT`. Prints how many seconds the work took without the imports.
"""

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf
from PIL import Image

_PX = 224


def main(saved: str, pictures: Path, result: Path) -> None:
    started = time.perf_counter()

    def samples() -> Iterator[list[Any]]:
        for path in sorted(pictures.iterdir()):
            with Image.open(path) as picture:
                pixels = np.asarray(picture.convert("RGB").resize((_PX, _PX), Image.Resampling.BILINEAR), np.float32)
            yield [pixels[None] / 127.5 - 1]

    converter = tf.lite.TFLiteConverter.from_saved_model(saved)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = samples
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    result.write_bytes(converter.convert())
    print(time.perf_counter() - started)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
