"""Whatever a model gives is told, or refused with a `ModelError`: nothing else comes out of a decoder."""

import json
import math
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.errors import ModelError
from edge_agent.release.outputs import OutputSpec, TaskName
from edge_agent.tasks.decoder import build_decoder
from edge_agent.tasks.segmentation import SegmentationDecoder
from edge_agent.transform.placement import Placement
from edge_agent.transform.prepared import Prepared
from edge_agent.transform.tensor import Array, Quantization, TensorSpec

TASKS: tuple[TaskName, ...] = ("classification", "segmentation", "regression", "anomaly", "raw")
SHAPES = st.lists(st.integers(1, 5), min_size=0, max_size=5).map(tuple)
DTYPES = st.sampled_from([np.float32, np.float16, np.uint8, np.int8, np.int16, np.int32, np.int64, np.bool_])
INPUT = TensorSpec("seen", (1, 4), np.dtype(np.float32))


@st.composite
def tensors(draw: st.DrawFn) -> TensorSpec:
    dtype = np.dtype(draw(DTYPES))
    small = dtype.kind in "ui" and dtype.itemsize < 8
    quantization = draw(st.none() | st.builds(Quantization, st.floats(1e-6, 1e3), st.integers(-128, 255)))
    return TensorSpec("output", draw(SHAPES), dtype, quantization if small else None)


def specs() -> st.SearchStrategy[OutputSpec]:
    return st.builds(
        OutputSpec,
        top_k=st.none() | st.integers(1, 9),
        activation=st.sampled_from(["none", "softmax", "sigmoid"]),
        score_threshold=st.floats(-2, 2),
        background_class=st.none() | st.integers(-2, 6),
        output_order=st.none() | st.lists(st.integers(0, 3), max_size=3).map(tuple),
        names=st.sampled_from([(), ("a",), ("a", "b", "c", "d")]),
        scale=st.floats(-1e9, 1e9),
        threshold=st.none() | st.floats(1e-9, 1e9),
        error=st.sampled_from(["mse", "mae", "output"]),
    )


def stored(tensor: TensorSpec, generator: np.random.Generator, *, wild: bool) -> Array:
    """Any bytes at all, which may be no numbers, or small values."""
    if wild and tensor.dtype.kind != "b":
        count = math.prod(tensor.shape) * tensor.dtype.itemsize
        return np.frombuffer(generator.bytes(count), tensor.dtype).reshape(tensor.shape)
    values: Array = generator.integers(0, 3, tensor.shape).astype(tensor.dtype)
    return np.asarray(values)


@settings(max_examples=600)
@given(
    task=st.sampled_from(TASKS),
    spec=specs(),
    outputs=st.lists(tensors(), max_size=3).map(tuple),
    labels=st.sampled_from([(), ("x",), ("x", "y"), ("x", "y", "z")]),
    seed=st.integers(0, 1 << 30),
    wild=st.booleans(),
    fit=st.sampled_from([None, "letterbox", "crop"]),
)
def test_any_outputs_are_told_or_refused(  # noqa: PLR0917 - each is drawn
    task: TaskName,
    spec: OutputSpec,
    outputs: tuple[TensorSpec, ...],
    labels: tuple[str, ...],
    seed: int,
    wild: bool,  # noqa: FBT001
    fit: Any,
) -> None:
    generator = np.random.default_rng(seed)
    arrays = [stored(tensor, generator, wild=wild) for tensor in outputs]
    before = [array.copy() for array in arrays]
    placement = Placement.fit(fit, (64, 48), (32, 32)) if fit else None
    prepared = Prepared((np.ones((1, 4), np.float32),), placement)
    try:
        decoder = build_decoder(task, spec, outputs, labels, (INPUT,))
        found = decoder.decode(arrays, prepared)
        if isinstance(decoder, SegmentationDecoder):
            decoder.class_map(arrays, prepared)
    except ModelError:
        return
    json.dumps([prediction.to_json() for prediction in found], allow_nan=False)
    assert all(prediction.share is None or 0 < prediction.share <= 1 for prediction in found)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(arrays, before, strict=True))
