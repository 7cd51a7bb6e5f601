"""From rows of a sensor to the input tensor: cutting windows, and scaling them as the model was trained.

Reading rows from files is left to `rows` and `inference.sources`.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_agent.errors import FrameError, ModelError, Reason
from edge_agent.release.inputs import SignalInput
from edge_agent.transform.tensor import Array, TensorSpec, quantize


class SignalTransform:
    """How one model takes windows. Immutable; any thread may apply it.

    Raises:
        ModelError: INCOMPATIBLE, the model's input does not hold such a window.
    """

    def __init__(self, spec: SignalInput, tensor: TensorSpec) -> None:
        elements = math.prod(tensor.shape)
        self.window = spec.window
        self.channels = len(spec.channels) or elements // spec.window
        _check_tensor(spec, tensor, self.channels)
        self._tensor = tensor
        self._mean = np.asarray(spec.mean if spec.mean is not None else 0.0, np.float64)
        self._std = np.asarray(spec.std if spec.std is not None else 1.0, np.float64)

    def apply(self, rows: NDArray[np.floating] | ArrayLike) -> Array:
        """The input tensor of `rows` [window, channels], real values in the sensor's unit.

        Raises:
            FrameError: another shape, or values that are not finite.
        """
        real = np.asarray(rows, np.float64)
        if real.shape != (self.window, self.channels):
            raise FrameError(
                f"a window needs {self.window} rows of {self.channels} channels; found {list(real.shape)}",
                hint="check the columns of the source",
            )
        if not np.isfinite(real).all():
            raise FrameError("a window holds values that are not finite", hint="check the sensor for missing values")
        return quantize((real - self._mean) / self._std, self._tensor).reshape(self._tensor.shape)


class Windower:
    """Cuts a stream of rows into windows of `window` rows, each beginning `stride` rows after the one before."""

    def __init__(self, window: int, stride: int) -> None:
        if window < 1 or stride < 1:
            raise ValueError("window and stride must be at least 1 row")
        self._window = window
        self._stride = stride
        self._rows: list[ArrayLike] = []
        self._skip = 0  # rows between two windows where the stride is longer than the window

    def push(self, row: ArrayLike) -> NDArray[np.float64] | None:
        """Take one row of channels; gives the window [window, channels] that it completes, if it does."""
        if self._skip:
            self._skip -= 1
            return None
        self._rows.append(row)
        if len(self._rows) < self._window:
            return None
        window = np.array(self._rows, np.float64)
        self._skip = max(0, self._stride - self._window)
        del self._rows[: self._stride]
        return window

    def clear(self) -> None:
        """Forget the rows so far: the source began anew."""
        self._rows.clear()
        self._skip = 0


def _check_tensor(spec: SignalInput, tensor: TensorSpec, channels: int) -> None:
    def incompatible(wanted: str) -> ModelError:
        hint = "check window and channels of the input against the model"
        return ModelError(f"{wanted}; this model takes {tensor.label}", reason=Reason.INCOMPATIBLE, hint=hint)

    # [1,W,C], [1,W*C], [1,W,C,1], [1,1,W,C]: dimensions of 1 say nothing. [1,C,W] is another order and refused.
    found = [size for size in tensor.shape if size != 1]
    window = [size for size in (spec.window, channels) if size != 1]
    flat = [size for size in (spec.window * channels,) if size != 1]
    if found not in (window, flat):
        raise incompatible(
            f"a window of {spec.window} rows and {channels} channels needs {spec.window * channels} values"
        )
    if tensor.dtype.kind not in "uif":
        raise incompatible("a window needs numbers as the input")
    for what, values in (("mean", spec.mean), ("std", spec.std)):
        if values is not None and len(values) not in (1, channels):
            raise incompatible(f"1 or {channels} values of {what} are needed, found {len(values)}")
