"""How far each layer of the finished model is from the same one of the float model, and what values it takes.

Both models are run with every tensor among their outputs, by the kernels that devices use, in a child process.
Layers are told by the names of their output tensors, which quantizing leaves as they are. What a layer would lose if
it alone were quantized is another question, and left to the search for mixed precision.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converter.child import answer_parent, run_child
from converter.layer_list import list_layers
from converter.report.sections import LayerError, TensorRange
from converter.tflite_schema import expose_tensors, read_graph
from edge_agent import schema
from edge_agent.transform.tensor import Array, Quantization, TensorSpec, dequantize, quantize

LAYER_SAMPLES = 8  # a layer has thousands of values in each
_TIMEOUT_S = 600.0
_BINS = 32
_KEPT_VALUES = 4096  # of each tensor and sample, evenly spread over it: enough for a picture of 32 columns
_SAMPLES_NAME = "layers.samples.npz"

Real = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Layers:
    """What was found of all layers, in the order in which they run."""

    errors: tuple[LayerError, ...]
    ranges: tuple[TensorRange, ...]  # of the float model's outputs


def compare_layers(float_model: Path, converted: Path, samples: Sequence[Sequence[Array]], folder: Path) -> Layers:
    """Run both models on `samples` (inputs as the float model takes them) and compare them layer by layer.

    Layers that the conversion left out, and those of integers, are not among them.

    Raises:
        ConversionError: a model does not load, or crashes.
    """
    columns = [np.stack([sample[number] for sample in samples]) for number in range(len(samples[0]))]
    np.savez(folder / _SAMPLES_NAME, *columns)
    request = {"float_model": str(float_model), "converted": str(converted)}
    answer = run_child(__name__, request, folder, what="comparing the layers", timeout_s=_TIMEOUT_S)
    return schema.parse(Layers, answer, strict=True)


# --- in the child -------------------------------------------------------------------------------------------------


class _Observed:
    """A model of which what every operator gives can be read after it has run."""

    def __init__(self, path: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter: Any = Interpreter(model_content=expose_tensors(path.read_bytes()), num_threads=2)
        self._interpreter.allocate_tensors()
        self._details = {str(detail["name"]): detail for detail in self._interpreter.get_output_details()}
        self._inputs = self._interpreter.get_input_details()

    def run(self, inputs: Sequence[Array]) -> None:
        """`inputs` are real values."""
        for detail, values in zip(self._inputs, inputs, strict=True):
            self._interpreter.set_tensor(detail["index"], quantize(values, _spec(detail)))
        self._interpreter.invoke()

    def values(self, name: str) -> Real | None:
        """Real values of a tensor; None where there is none of that name, or it holds no real values."""
        detail = self._details.get(name)
        if detail is None:
            return None
        spec = _spec(detail)
        if spec.dtype.kind != "f" and spec.quantization is None:
            return None
        return dequantize(np.asarray(self._interpreter.get_tensor(detail["index"])), spec).astype(np.float64)


class _Values:
    """What is gathered of one layer over all samples."""

    def __init__(self) -> None:
        self.power = self.error = 0.0
        self.smallest, self.largest = np.inf, -np.inf
        self._kept: list[Real] = []

    def add(self, expected: Real, found: Real) -> None:
        self.power += float(np.square(expected).sum())
        self.error += float(np.square(found - expected).sum())
        self.smallest = min(self.smallest, float(expected.min()))
        self.largest = max(self.largest, float(expected.max()))
        flat = expected.reshape(-1)
        self._kept.append(flat[:: -(-flat.size // _KEPT_VALUES)])

    def snr_db(self) -> float | None:
        """None: equal."""
        if self.error == 0:
            return None
        return round(10 * float(np.log10(max(self.power, np.finfo(float).tiny) / self.error)), 2)

    def range_of(self, name: str) -> TensorRange:
        counts, _ = np.histogram(np.concatenate(self._kept), _BINS, (self.smallest, self.largest))
        return TensorRange(name, _rounded(self.smallest), _rounded(self.largest), tuple(map(int, counts)))


def _work(folder: Path, request: Mapping[str, Any]) -> object:
    float_path, converted_path = Path(request["float_model"]), Path(request["converted"])
    with np.load(folder / _SAMPLES_NAME, allow_pickle=False) as stored:
        columns = [stored[f"arr_{number}"] for number in range(len(stored.files))]
    names = [layer.name for layer in list_layers(read_graph(float_path.read_bytes()))]
    original, converted = _Observed(float_path), _Observed(converted_path)
    gathered = {name: _Values() for name in dict.fromkeys(names)}
    for inputs in zip(*columns, strict=True):
        original.run(inputs)
        converted.run(inputs)
        for name, values in gathered.items():
            expected, found = original.values(name), converted.values(name)
            if expected is not None and found is not None and expected.size and expected.shape == found.shape:
                values.add(expected, found)
    seen = {name: values for name, values in gathered.items() if np.isfinite((values.power, values.smallest)).all()}
    layers = Layers(
        errors=tuple(
            LayerError(
                layer.name, layer.operator, layer.precision, seen[layer.name].snr_db(), layer.macs, layer.size_bytes
            )
            for layer in list_layers(read_graph(converted_path.read_bytes()))
            if layer.name in seen
        ),
        ranges=tuple(values.range_of(name) for name, values in seen.items()),
    )
    return schema.dump(layers)


def _spec(detail: Mapping[str, Any]) -> TensorSpec:
    scale, zero_point = detail["quantization"]
    quantization = Quantization(float(scale), int(zero_point)) if scale else None
    return TensorSpec(str(detail["name"]), tuple(map(int, detail["shape"])), np.dtype(detail["dtype"]), quantization)


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


if __name__ == "__main__":
    answer_parent("converter.layers", _work)
