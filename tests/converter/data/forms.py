"""Data sets as people have them, small ones."""

from pathlib import Path

import numpy as np
from PIL import Image

from converter.data.examples import Examples, Request
from converter.data.opening import open_examples
from edge_agent.release.inputs import AudioInput, ImageInput, InputSpec, SignalInput, TensorInput
from edge_agent.release.outputs import TaskName
from edge_agent.transform.tensor import TensorSpec

PICTURES = ImageInput()
ROWS = SignalInput(channels=("x", "y"), window=4, stride=2)
SOUND = AudioInput(window=16_000, stride=16_000)
VALUES = TensorInput()
TENSORS = {
    "image": TensorSpec("image", (1, 8, 8, 3), np.dtype(np.float32)),
    "signal": TensorSpec("rows", (1, 4, 2), np.dtype(np.float32)),
    "audio": TensorSpec("sound", (1, 16_000), np.dtype(np.float32)),
    "tensor": TensorSpec("vector", (1, 3), np.dtype(np.float32)),
}


def opened(path: Path, task: TaskName, spec: InputSpec = PICTURES, *, skip: bool = False) -> Examples:
    tensor = TENSORS[spec.kind]
    return open_examples(Request(path, task, spec, skip), [tensor], [tensor.name])


def picture(path: Path, size: tuple[int, int] = (40, 20), level: int = 90) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (level, 0, level)).save(path)
    return path
