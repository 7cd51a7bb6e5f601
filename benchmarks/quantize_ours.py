"""The same as `quantize_tensorflow` by our code: `python -m benchmarks.quantize_ours MODEL PICTURES RESULT`. Prints the
seconds of the work without the imports, its child's included.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from converter.calibrate import collect_samples
from converter.dataset import open_dataset
from converter.quantization.quantize import quantize
from converter.recipe import build_recipe
from edge_agent.release.inputs import ImageInput
from edge_agent.transform.tensor import TensorSpec


def main(model: Path, pictures: Path, result: Path) -> None:
    started = time.perf_counter()
    tensor = TensorSpec("image", (1, 224, 224, 3), np.dtype(np.float32))
    dataset = open_dataset(pictures, ImageInput(mean=(127.5,), std=(127.5,)), [tensor], limit=100)
    treatment = build_recipe({}, {"scheme": "int8"}).treatment
    with tempfile.TemporaryDirectory() as folder:
        done = quantize(model.read_bytes(), treatment, collect_samples(dataset, [tensor]), Path(folder))
    result.write_bytes(done.content)
    print(time.perf_counter() - started)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
