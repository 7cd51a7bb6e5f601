"""Which inputs of a model frames fill, and what the others get: its own outputs of the time before, or constants.

The manifest's `state` and `constants` say which. Plain numbers are laid into the inputs here; turning pictures, windows
and sound into tensors is left to `transform`.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from edge_agent.errors import FrameError, ModelError, Reason, counted
from edge_agent.inference.engine import Engine
from edge_agent.release.inputs import InputSpec, TensorInput
from edge_agent.release.manifest import Manifest
from edge_agent.transform.tensor import Array, TensorSpec, dequantize, quantize


class Feed:
    """Completes the inputs of each invoke and keeps what is fed back. One thread uses it, the one that invokes.

    Raises:
        ModelError: INCOMPATIBLE, the manifest names tensors that there are not, or that do not fit.
    """

    def __init__(self, manifest: Manifest, engine: Engine) -> None:
        self._tensors = engine.inputs
        self._engine_outputs = engine.outputs
        self._state = {
            _position("state", "output", source, engine.outputs): _position("state", "input", target, engine.inputs)
            for source, target in manifest.state.items()
        }
        for source, target in self._state.items():
            _check_loop(engine.outputs[source], engine.inputs[target])
        constants = {
            _position("constants", "input", name, engine.inputs): value for name, value in manifest.constants.items()
        }
        self._constants = {place: _constant(value, engine.inputs[place]) for place, value in constants.items()}
        fed = [*self._state.values(), *constants]
        if len(set(fed)) != len(fed):
            twice = sorted({engine.inputs[place].name for place in fed if fed.count(place) > 1})
            raise _incompatible(f"inputs {', '.join(twice)} are fed twice by state and constants")
        self._filled = [place for place in range(len(engine.inputs)) if place not in fed]
        self._answers = [place for place in range(len(engine.outputs)) if place not in self._state]
        self.inputs = tuple(engine.inputs[place] for place in self._filled)  # those that frames fill
        self.outputs = tuple(engine.outputs[place] for place in self._answers)  # those that are answers
        self._kept: dict[int, Array] = {}
        self.reset()

    @property
    def remembers(self) -> bool:
        """Whether an answer depends on the frames before."""
        return bool(self._state)

    def target(self, spec: InputSpec) -> TensorSpec:
        """The one input that a picture, a window or a stretch of sound becomes.

        Raises:
            ModelError: INCOMPATIBLE, there is no such input, or others are left with nothing to fill them.
        """
        named = None if isinstance(spec, TensorInput) else spec.tensor
        left = ", ".join(tensor.label for tensor in self.inputs) or "none"
        if named is not None and named not in [tensor.name for tensor in self.inputs]:
            raise _incompatible(f"input.tensor names {named!r}; the inputs left to be filled are {left}")
        if len(self.inputs) != 1:
            raise ModelError(
                f"input kind {spec.kind!r} fills one input of a model; those left to be filled are {left}",
                reason=Reason.INCOMPATIBLE,
                hint="name the others under `state` or `constants`, or use input kind 'tensor'",
            )
        return self.inputs[0]

    def plain(self, values: Sequence[ArrayLike]) -> tuple[Array, ...]:
        """What frames fill, of real values for each.

        Raises:
            FrameError: another number of inputs or of values, values that are not finite, or no numbers.
        """
        if len(values) != len(self.inputs):
            raise FrameError(f"this model takes {counted(len(self.inputs), 'input')}; found {len(values)}")
        return tuple(_stored(value, tensor) for value, tensor in zip(values, self.inputs, strict=True))

    def row(self, values: Sequence[float]) -> tuple[Array, ...]:
        """What frames fill, of one row that is dealt out to all of it in order.

        Raises:
            FrameError: another number of values, or values that are not finite.
        """
        sizes = [math.prod(tensor.shape) for tensor in self.inputs]
        if len(values) != sum(sizes):
            hint = "choose the columns with `channels`"
            raise FrameError(f"this model takes {counted(sum(sizes), 'value')} a row; found {len(values)}", hint=hint)
        return self.plain(np.split(np.asarray(values, np.float64), np.cumsum(sizes)[:-1]))

    def complete(self, prepared: Sequence[Array]) -> list[Array]:
        """All inputs of the engine, from those that frames fill."""
        given = dict(zip(self._filled, prepared, strict=True))
        return [(given | self._constants | self._kept)[place] for place in range(len(self._tensors))]

    def stacked(self, vectors: Sequence[Sequence[Array]]) -> list[Array]:
        """All inputs of the engine for several frames at once, stacked in the first dimension."""
        completed = [self.complete(vector) for vector in vectors]
        return [np.concatenate(arrays) for arrays in zip(*completed, strict=True)]

    def remember(self, outputs: Sequence[Array]) -> None:
        """Keep what the next frame is to be fed with."""
        for source, target in self._state.items():
            self._kept[target] = _converted(outputs[source], self._engine_outputs[source], self._tensors[target])

    def answers(self, outputs: Sequence[Array]) -> list[Array]:
        """The outputs of the engine without those that are only fed back."""
        return [outputs[place] for place in self._answers]

    def reset(self) -> None:
        """Forget what came before: the next frame is the first one."""
        for target in self._state.values():
            tensor = self._tensors[target]
            self._kept[target] = quantize(np.zeros(tensor.shape), tensor)  # what stands for 0 where it is quantized


def _stored(value: ArrayLike, tensor: TensorSpec) -> Array:
    real = np.asarray(value)
    if real.dtype.kind not in "uifb" or tensor.dtype.kind not in "uifb":
        raise FrameError(f"input {tensor.label} cannot take values of {real.dtype}")
    if real.size != math.prod(tensor.shape):
        raise FrameError(f"input {tensor.label} needs {counted(math.prod(tensor.shape), 'value')}; found {real.size}")
    if real.dtype == tensor.dtype:
        return real.reshape(tensor.shape)
    if not np.isfinite(real).all():
        raise FrameError(
            f"input {tensor.label} is given values that are not finite", hint="check the sensor for missing values"
        )
    return quantize(real.astype(np.float64), tensor).reshape(tensor.shape)


def _position(key: str, what: str, name: str, tensors: Sequence[TensorSpec]) -> int:
    names = [tensor.name for tensor in tensors]
    if names.count(name) != 1:
        raise _incompatible(f"{key} names {what} {name!r}; the model's are {', '.join(names)}")
    return names.index(name)


def _check_loop(output: TensorSpec, given: TensorSpec) -> None:
    if output.shape != given.shape or output.dtype.kind not in "uif" or given.dtype.kind not in "uif":
        raise _incompatible(f"state feeds {output.label} back to {given.label}, which does not take it")


def _converted(stored: Array, output: TensorSpec, given: TensorSpec) -> Array:
    """The output as the input stores it: a quantized model may have another scale on either side of the loop."""
    if output.dtype == given.dtype and output.quantization == given.quantization:
        return stored
    return quantize(dequantize(stored, output), given)


def _constant(value: tuple[float, ...] | float, tensor: TensorSpec) -> Array:
    values = np.asarray(value, np.float64)
    wanted = math.prod(tensor.shape)
    if values.size not in (1, wanted) or tensor.dtype.kind not in "uifb":
        raise _incompatible(f"constants has {values.size} values for {tensor.label}, which takes {wanted}")
    return quantize(np.broadcast_to(values.reshape(-1), (wanted,)), tensor).reshape(tensor.shape)


def _incompatible(message: str) -> ModelError:
    return ModelError(message, reason=Reason.INCOMPATIBLE, hint="'edgectl inspect' shows the names a model has")
