"""From sound to the input tensor: cutting windows, and turning each into what the model was trained on.

What the features are is left to `audio_features`, another sample rate to `resample`, files to `wav` and
`inference.sources`.
"""

import math

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import FrameError, ModelError, Reason
from edge_agent.release.inputs import AudioInput
from edge_agent.transform.audio_features import feature_shape, new_features
from edge_agent.transform.tensor import Array, TensorSpec, quantize

Samples = NDArray[np.float32]


class AudioTransform:
    """How one model takes sound. Immutable; any thread may apply it.

    Raises:
        ModelError: INCOMPATIBLE, the model's input does not hold these features.
    """

    def __init__(self, spec: AudioInput, tensor: TensorSpec) -> None:
        self.length = spec.context + spec.window  # samples that `apply` takes
        _check_tensor(spec, tensor)
        try:
            self._features = new_features(spec)
        except ValueError as error:
            raise ModelError(
                str(error), reason=Reason.INCOMPATIBLE, hint="check fft and the band of the input"
            ) from error
        self._tensor = tensor
        self._mean = np.asarray(spec.mean if spec.mean is not None else 0.0, np.float64)
        self._std = np.asarray(spec.std if spec.std is not None else 1.0, np.float64)

    def apply(self, samples: Samples) -> Array:
        """The input tensor of `samples` [context + window], -1..1, at the model's rate.

        Raises:
            FrameError: another number of samples, or values that are not finite.
        """
        real = np.asarray(samples, np.float64)
        if real.shape != (self.length,):
            raise FrameError(f"a window needs {self.length} samples of mono sound; found {list(real.shape)}")
        if not np.isfinite(real).all():
            raise FrameError("a window of sound holds values that are not finite", hint="check the recording")
        features = (self._features(real) - self._mean) / self._std
        return quantize(features, self._tensor).reshape(self._tensor.shape)


class AudioWindower:
    """Cuts sound into windows of `window` samples, each beginning `stride` samples after the one before.

    A window comes with the `context` samples before it in front; before the first one there was silence.
    """

    def __init__(self, spec: AudioInput) -> None:
        self.spec = spec
        self._length = spec.context + spec.window
        self._held: Samples = np.zeros(spec.context, np.float32)
        self._skip = 0  # samples between two windows where the stride is longer than the window
        self._given = False

    def push(self, block: Samples) -> list[Samples]:
        """Take some samples, at the model's rate; gives the windows [context + window] that they complete.

        Windows that overlap share their memory: nobody writes into them.
        """
        held = np.concatenate([self._held, block], dtype=np.float32)[self._skip :]
        self._skip = max(0, self._skip - len(self._held) - len(block))
        begins = range(0, len(held) - self._length + 1, self.spec.stride)
        windows = [held[begin : begin + self._length] for begin in begins]
        done = len(begins) * self.spec.stride
        self._skip += max(0, done - len(held))
        self._held = held[done:]
        self._given = self._given or bool(windows)
        return windows

    def finish(self) -> list[Samples]:
        """No more follows: what was shorter than one window is filled up with silence."""
        heard = len(self._held) - self.spec.context
        if self._given or heard <= 0:
            return []
        return self.push(np.zeros(self.spec.window - heard, np.float32))

    def clear(self) -> None:
        """Forget the samples so far: what comes next does not belong to them."""
        self._held = np.zeros(self.spec.context, np.float32)
        self._skip = 0
        self._given = False


def _check_tensor(spec: AudioInput, tensor: TensorSpec) -> None:
    shape = feature_shape(spec)

    def incompatible(wanted: str) -> ModelError:
        hint = "check window, context, features, frame, hop and bins of the input against the model"
        return ModelError(f"{wanted}; this model takes {tensor.label}", reason=Reason.INCOMPATIBLE, hint=hint)

    # [1,F,B], [1,F*B], [1,F,B,1], [1,1,F,B]: dimensions of 1 say nothing. [1,B,F] is another order and refused.
    found = [size for size in tensor.shape if size != 1]
    whole = [size for size in shape if size != 1]
    flat = [size for size in (math.prod(shape),) if size != 1]
    if found not in (whole, flat):
        what = f"{shape[0]} samples" if len(shape) == 1 else f"{shape[0]} frames of {shape[1]} values"
        raise incompatible(f"features {spec.features} of {spec.context + spec.window} samples are {what}")
    if tensor.dtype.kind not in "uif":
        raise incompatible("sound needs numbers as the input")
    bins = shape[1] if len(shape) > 1 else 1
    for name, values in (("mean", spec.mean), ("std", spec.std)):
        if values is not None and len(values) not in (1, bins):
            raise incompatible(f"1 or {bins} values of {name} are needed, found {len(values)}")
