"""Whatever a model gives: a decoder takes it or says why not, and nothing else comes out of it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.errors import ModelError, Reason
from edge_agent.release.outputs import DetectionDecoder, OutputSpec, PoseDecoder
from edge_agent.tasks.decoder import Decoder, build_decoder
from edge_agent.tasks.detection import guess_decoder
from edge_agent.tasks.pose import guess_pose_decoder
from edge_agent.transform.placement import Placement
from edge_agent.transform.prepared import Prepared
from edge_agent.transform.tensor import Array, Quantization, TensorSpec

DECODERS = (*get_args(DetectionDecoder), *get_args(PoseDecoder))
SIZES = st.sampled_from([1, 2, 3, 4, 5, 6, 7, 8, 14, 16, 17, 21, 34, 56, 84, 96, 195])
SHAPES = st.lists(st.lists(SIZES, max_size=4).map(tuple), max_size=4).filter(
    lambda shapes: sum(int(np.prod(shape)) for shape in shapes) < 100_000
)
FITTING: list[list[tuple[int, ...]]] = [
    [(1, 10, 4), (1, 10), (1, 10), (1,)],
    [(1, 96, 4), (1, 96, 3)],
    [(1, 224, 16), (1, 224, 1)],
    [(1, 252, 9)],
    [(1, 9, 84)],
    [(1, 84, 9)],
    [(1, 300, 6)],
    [(1, 4, 4, 9)],
    [(1, 9, 4, 4)],
    [(1, 283, 4), (1, 283, 2)],
    [(1, 1, 17, 3)],
    [(1, 6, 56)],
    [(1, 5, 5, 3), (1, 5, 5, 6)],
    [(1, 16, 16, 17)],
    [(1, 195), (1, 1)],
]
NUMBERS = st.sampled_from([0.0, 0.5, 1.0, -1.0, 99.0, -3e38, 3e38, np.nan, np.inf])


Case = tuple[OutputSpec, tuple[TensorSpec, ...], list[Array]]
INPUTS = (TensorSpec("image", (1, 64, 64, 3), np.dtype(np.float32)),)


def spec_of(decoder: Any, **others: Any) -> OutputSpec:
    return OutputSpec(decoder=decoder, **others)


def build(spec: OutputSpec, outputs: tuple[TensorSpec, ...]) -> Decoder:
    return build_decoder("pose" if spec.decoder in get_args(PoseDecoder) else "detection", spec, outputs, (), INPUTS)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    activation = draw(st.sampled_from(["none", "sigmoid", "softmax"]))
    spec = spec_of(draw(st.sampled_from(DECODERS)), activation=activation, score_threshold=0.3)
    dtype = draw(st.sampled_from([np.float32, np.float16, np.int8, np.uint8, np.int32, np.bool_]))
    quantization = Quantization(0.05, 3) if dtype in (np.int8, np.uint8) else None
    shapes = draw(SHAPES | st.sampled_from(FITTING))
    outputs = tuple(TensorSpec(f"o{n}", shape, np.dtype(dtype), quantization) for n, shape in enumerate(shapes))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    with np.errstate(all="ignore"):
        arrays: list[Array] = [np.asarray(rng.normal(0, 3, tensor.shape)).astype(dtype) for tensor in outputs]
        if arrays and arrays[0].dtype.kind == "f" and arrays[0].size:
            arrays[0].reshape(-1)[rng.integers(arrays[0].size)] = draw(NUMBERS)
    return spec, outputs, arrays


@settings(max_examples=300)
@given(cases())
def test_a_decoder_takes_it_or_says_why_not(case: Case) -> None:
    spec, outputs, arrays = case
    with accepting(Reason.INCOMPATIBLE, Reason.TRIAL_ERRORS):
        placement = Placement.fit("letterbox", (200, 100), (64, 64))
        found = build(spec, outputs).decode(arrays, Prepared(placement=placement))
        for prediction in found:
            assert prediction.score >= 0.3
            if prediction.box is not None:
                assert 0 <= prediction.box.left < prediction.box.right <= 200
                assert 0 <= prediction.box.top < prediction.box.bottom <= 100
        scores = [prediction.score for prediction in found]
        assert scores == sorted(scores, reverse=True)


@contextmanager
def accepting(*reasons: Reason) -> Iterator[None]:
    try:
        yield
    except ModelError as error:
        if error.reason not in reasons:
            raise


@given(SHAPES, SHAPES)
def test_a_guess_never_fails_and_what_is_guessed_fits(
    shapes: list[tuple[int, ...]], of_inputs: list[tuple[int, ...]]
) -> None:
    outputs, inputs = (
        tuple(TensorSpec(f"t{n}", shape, np.dtype(np.float32)) for n, shape in enumerate(given_shapes))
        for given_shapes in (shapes, of_inputs)
    )
    if guess_decoder(outputs, inputs) is not None:
        build_decoder("detection", OutputSpec(), outputs, (), inputs)
    if guess_pose_decoder(outputs, inputs) is not None:
        build_decoder("pose", OutputSpec(), outputs, (), inputs)


@pytest.mark.parametrize("shapes", FITTING)
def test_what_is_to_fit_above_does(shapes: list[tuple[int, ...]]) -> None:
    outputs = tuple(TensorSpec(f"o{n}", shape, np.dtype(np.float32)) for n, shape in enumerate(shapes))
    fitting: list[str] = []
    for decoder in DECODERS:
        with accepting(Reason.INCOMPATIBLE):
            build(spec_of(decoder), outputs)
            fitting.append(decoder)
    assert fitting


def test_the_format_tells_of_every_decoder() -> None:
    text = (Path(__file__).parents[3] / "docs" / "artifact-format.md").read_text(encoding="utf-8")
    told = set(re.findall(r"^\| `(\w+)`[^|]*\| .*\[1,", text, re.MULTILINE))
    assert told == set(DECODERS)
