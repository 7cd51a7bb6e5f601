"""What the tests of all heads share: objects that are put into outputs and are to come out again."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import strategies as st

from edge_agent.release.outputs import OutputSpec
from edge_agent.tasks.decoder import build_decoder
from edge_agent.tasks.prediction import Prediction
from edge_agent.transform.placement import Placement
from edge_agent.transform.prepared import Prepared
from edge_agent.transform.tensor import Array, Quantization, TensorSpec, quantize

FLOAT = np.dtype(np.float32)
Sides = tuple[float, float, float, float]  # ymin, xmin, ymax, xmax, normalized


@dataclass(frozen=True, slots=True)
class Thing:
    """An object in the model's input."""

    sides: Sides
    index: int
    score: float

    @property
    def center(self) -> tuple[float, float]:
        """y, x."""
        return (self.sides[0] + self.sides[2]) / 2, (self.sides[1] + self.sides[3]) / 2

    @property
    def size(self) -> tuple[float, float]:
        """Height, width."""
        return self.sides[2] - self.sides[0], self.sides[3] - self.sides[1]


@st.composite
def things(draw: st.DrawFn, classes: int) -> Thing:
    """Boxes inside of the input, of at least 5 % of its side."""
    height, width = draw(st.floats(0.05, 0.9)), draw(st.floats(0.05, 0.9))
    top, left = draw(st.floats(0, 1 - height)), draw(st.floats(0, 1 - width))
    sides = (top, left, top + height, left + width)
    return Thing(sides, draw(st.integers(0, classes - 1)), draw(st.floats(0.5, 0.99)))


def picture(height: int, width: int) -> tuple[TensorSpec, ...]:
    """A model's input."""
    return (TensorSpec("image", (1, height, width, 3), FLOAT),)


def floats(*arrays: Array) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(f"output{n}", array.shape, FLOAT) for n, array in enumerate(arrays))


def detect(
    spec: OutputSpec,
    arrays: Sequence[Array],
    inputs: tuple[TensorSpec, ...],
    *,
    labels: tuple[str, ...] = (),
    placement: Placement | None = None,
) -> list[Prediction]:
    """Float outputs, decoded."""
    decoder = build_decoder("detection", spec, floats(*arrays), labels, inputs)
    return decoder.decode(arrays, Prepared(placement=placement))


def detect_quantized(
    spec: OutputSpec, arrays: Sequence[Array], scales: Sequence[Quantization], inputs: tuple[TensorSpec, ...]
) -> list[Prediction]:
    """The same as int8."""
    tensors = tuple(
        TensorSpec(tensor.name, tensor.shape, np.dtype(np.int8), scale)
        for tensor, scale in zip(floats(*arrays), scales, strict=True)
    )
    stored = [quantize(array, tensor) for array, tensor in zip(arrays, tensors, strict=True)]
    return build_decoder("detection", spec, tensors, (), inputs).decode(stored, Prepared())


def assert_is(found: Prediction, thing: Thing, *, abs_box: float = 1e-4, abs_score: float = 1e-4) -> None:
    """Normalized: decoded without a placement."""
    assert found.box is not None
    sides = (found.box.top, found.box.left, found.box.bottom, found.box.right)
    assert sides == pytest.approx(thing.sides, abs=abs_box)
    assert found.score == pytest.approx(thing.score, abs=abs_score)
    assert found.index == thing.index
