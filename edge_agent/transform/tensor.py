"""What a tensor is, and the step between real values and its stored ones."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Quantization:
    """real = (stored - zero_point) * scale."""

    scale: float
    zero_point: int


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of a model."""

    name: str
    shape: tuple[int, ...]  # with the batch; all positive
    dtype: np.dtype[Any]
    quantization: Quantization | None = None

    @property
    def label(self) -> str:
        """For messages: `image uint8[1,224,224,3]`."""
        return f"{self.name} {self.dtype}[{','.join(map(str, self.shape))}]"


def quantize(real: NDArray[np.floating[Any]], spec: TensorSpec) -> Array:
    """Real values as the tensor stores them: rounded half to even, clipped to the dtype; floats are only cast."""
    if spec.quantization is None:
        if np.issubdtype(spec.dtype, np.integer):
            limits = np.iinfo(spec.dtype)
            real = np.clip(np.rint(real), limits.min, limits.max)
        return real.astype(spec.dtype)
    limits = np.iinfo(spec.dtype)
    stored = np.rint(real / spec.quantization.scale) + spec.quantization.zero_point
    clipped: Array = np.clip(stored, limits.min, limits.max).astype(spec.dtype)
    return clipped


def dequantize(stored: Array, spec: TensorSpec) -> NDArray[np.float32]:
    """Stored values as real ones, float32."""
    if spec.quantization is None:
        return stored.astype(np.float32)
    real = (stored.astype(np.float32) - spec.quantization.zero_point) * np.float32(spec.quantization.scale)
    return real.astype(np.float32)
