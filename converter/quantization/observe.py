"""Looking inside a model while it runs: the values of its activations. Only in a child process.

What is made of them is left to `ranges`, `equalize`, `bias` and `layers`.
"""

import math
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converter.report.sections import TensorRange
from converter.samples import spread
from converter.tflite_schema import read_graph
from edge_agent.transform.tensor import Array

BINS = 2048
_SHOWN_BINS = 64
_VALUES = 65_536  # of one tensor and sample that are counted, evenly spread
_THREADS = 2

Real = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Histogram:
    """Values of one activation: counts, int64 [BINS], in equal steps from smallest to largest."""

    smallest: float
    largest: float
    counts: NDArray[np.int64]

    def shown(self, name: str) -> TensorRange:
        """What a report draws of it."""
        few = self.counts.reshape(_SHOWN_BINS, -1).sum(axis=1)
        return TensorRange(name, self.smallest, self.largest, tuple(int(count) for count in few))


def activations(
    content: bytes, samples: Iterable[Sequence[Array]], names: Sequence[str] | None = None
) -> Iterator[dict[str, Real]]:
    """For each sample the activations of the model, as real numbers, by name; `names` None: all.

    Samples are as the float model takes them; a quantized model with integer inputs takes them too.
    """
    interpreter = _opened(content, _THREADS, preserve=True)
    inputs = interpreter.get_input_details()
    constant = _constants(content) if names is None else frozenset()
    wanted = [
        detail
        for detail in interpreter.get_tensor_details()
        if (detail["name"] not in constant if names is None else detail["name"] in names) and _is_real(detail)
    ]
    for sample in samples:
        _feed(interpreter, inputs, sample)
        interpreter.invoke()
        found = {}
        for detail in wanted:
            try:
                found[detail["name"]] = _real(interpreter.get_tensor(detail["index"]), detail)
            except ValueError:  # a tensor no operator wrote: one of another subgraph, or fused away
                continue
        yield found


def answers(content: bytes, samples: Iterable[Sequence[Array]]) -> Iterator[list[Real]]:
    """For each sample the outputs of the model, as real numbers."""
    interpreter = _opened(content, _THREADS, preserve=False)
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    for sample in samples:
        _feed(interpreter, inputs, sample)
        interpreter.invoke()
        yield [_real(interpreter.get_tensor(detail["index"]), detail) for detail in outputs]


def latencies_ms(contents: Sequence[bytes], sample: Sequence[Array], *, rounds: int) -> list[float]:
    """How long an invoke of each model takes with one thread, ms: the lower quartile of `rounds`.

    In turns, so that all see the same load of the machine; what another process takes away is in the upper half.
    """
    loaded = [_opened(content, 1, preserve=False) for content in contents]
    for interpreter in loaded:
        _feed(interpreter, interpreter.get_input_details(), sample)
        interpreter.invoke()
    taken: list[list[float]] = [[] for _ in loaded]
    for _ in range(rounds):
        for interpreter, times in zip(loaded, taken, strict=True):
            started = time.perf_counter()
            interpreter.invoke()
            times.append((time.perf_counter() - started) * 1000)
    return [float(np.quantile(times, 0.25)) for times in taken]


def histograms(
    content: bytes, samples: Sequence[Sequence[Array]], ranges: Mapping[str, tuple[float, float]], *, most: int
) -> dict[str, Histogram]:
    """Histograms of the activations with known ranges, over at most `most` of the samples, evenly spread."""
    counts = {name: np.zeros(BINS, np.int64) for name in ranges}
    chosen = (samples[position] for position in spread(len(samples), most))
    for found in activations(content, chosen, tuple(ranges)):
        for name, values in found.items():
            lowest, highest = ranges[name]
            flat = values.reshape(-1)[:: _stride(values)]
            place = (flat - lowest) * (BINS / (highest - lowest)) if highest > lowest else np.zeros_like(flat)
            counts[name] += np.bincount(np.clip(place.astype(np.int32), 0, BINS - 1), minlength=BINS)
    return {name: Histogram(*ranges[name], found) for name, found in counts.items() if found.any()}


def _opened(content: bytes, threads: int, *, preserve: bool) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that all activations are kept is what is wanted
        interpreter = Interpreter(
            model_content=content, num_threads=threads, experimental_preserve_all_tensors=preserve
        )
    interpreter.allocate_tensors()
    return interpreter


def _feed(interpreter: Any, inputs: Sequence[Mapping[str, Any]], sample: Sequence[Array]) -> None:
    for detail, array in zip(inputs, sample, strict=True):
        interpreter.set_tensor(detail["index"], _stored(array, detail))


def _stride(values: Real) -> int:
    """Steps through the values so that every channel, the last dimension, is seen alike."""
    stride = max(1, values.size // _VALUES)
    while values.ndim and math.gcd(stride, values.shape[-1]) > 1:
        stride += 1
    return stride


def _constants(content: bytes) -> frozenset[str]:
    return frozenset(tensor.name for tensor in read_graph(content).tensors if tensor.constant)


def _is_real(detail: Mapping[str, Any]) -> bool:
    return detail["dtype"] is np.float32 or (
        detail["dtype"] in (np.int8, np.uint8, np.int16) and len(detail["quantization_parameters"]["scales"]) == 1
    )


def _real(array: Array, detail: Mapping[str, Any]) -> Real:
    if array.dtype == np.float32:
        return array
    scale, zero = detail["quantization"]
    real: Real = (array.astype(np.float32) - zero) * np.float32(scale)
    return real


def _stored(array: Array, detail: Mapping[str, Any]) -> Array:
    if array.dtype == detail["dtype"] or detail["quantization"][0] == 0:
        return array.astype(detail["dtype"])
    scale, zero = detail["quantization"]
    limits = np.iinfo(detail["dtype"])
    stored: Array = np.clip(np.rint(array / scale) + zero, limits.min, limits.max).astype(detail["dtype"])
    return stored
