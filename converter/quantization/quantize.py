"""Quantizing a model in a child process: what goes in, what comes out, and what must not come out silently.

The work is left to `quantize_child`; whether the result is any good to `fidelity`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import numpy as np

from converter.child import run_child
from converter.errors import ConversionError, RecipeError
from converter.quantization.treatment import Treatment
from converter.report.sections import LayerError, TensorRange
from converter.tflite_schema import add_signature, float_results, read_graph, renew_operator_codes
from edge_agent import schema
from edge_agent.transform.tensor import Array

CHILD = "converter.quantization.quantize_child"
SOURCE_NAME, SAMPLES_NAME, RESULT_NAME = "quantize.in.tflite", "quantize.samples.npz", "quantize.out.tflite"
_TESTED = "0.10."  # private names are used; the extra pins the same
_TIMEOUT_S = 1800.0
_UNTOLD = "its weights are shared, or too few to gain by it (min_weight_elements)"


@dataclass(frozen=True, slots=True)
class LeftFloat:
    """An operator of the converted model that still computes in float."""

    operator: str
    tensor: str  # its first output
    why: str


@dataclass(frozen=True, slots=True)
class Report:
    """What the child tells of its work."""

    fates: Mapping[str, str] = field(default_factory=dict)
    layers: tuple[LayerError, ...] = ()
    ranges: tuple[TensorRange, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Quantized:
    """A quantized model, and what was seen on the way."""

    content: bytes
    left_float: tuple[LeftFloat, ...] = ()
    layers: tuple[LayerError, ...] = ()  # where there are samples
    ranges: tuple[TensorRange, ...] = ()
    notes: tuple[str, ...] = ()


def quantize(content: bytes, treatment: Treatment, samples: Sequence[Sequence[Array]], folder: Path) -> Quantized:
    """The float32 model `content`, which has one signature at the most, after a treatment in a child process.

    `samples` are the inputs as the float model takes them; not every treatment needs any. The child's files go into
    `folder`.

    Raises:
        ConversionError, RecipeError: with the quantizer's words, or what it silently got wrong.
    """
    if not treatment.rules:
        raise RecipeError(
            "the recipe has no rules: nothing would be quantized", hint="docs/converter.md lists the keys of a recipe"
        )
    content = ready(content)
    (folder / SOURCE_NAME).write_bytes(content)
    if samples:
        write_samples(samples, folder)
    answer = run_child(CHILD, schema.dump(treatment), folder, what="quantizing", timeout_s=_TIMEOUT_S)
    report = schema.parse(Report, answer, strict=True)
    result = (folder / RESULT_NAME).read_bytes()
    if not any(tensor.quantized for tensor in read_graph(result).tensors):
        raise ConversionError(
            "the quantizer left the model as it was: the recipe finds nothing in it to change",
            hint="--scheme float32 packages it in float; or another scheme",
        )
    left = left_float(result, treatment, report.fates)
    return Quantized(result, left, report.layers, report.ranges, report.notes)


def ready(content: bytes) -> bytes:
    """The model as the quantizer takes it."""
    content = renew_operator_codes(content)
    return content if read_graph(content).signatures else add_signature(content)


def write_samples(samples: Sequence[Sequence[Array]], folder: Path) -> None:
    columns = [np.stack([sample[number] for sample in samples]) for number in range(len(samples[0]))]
    np.savez(folder / SAMPLES_NAME, *columns)


def left_float(content: bytes, treatment: Treatment, fates: Mapping[str, str]) -> tuple[LeftFloat, ...]:
    """The operators of a quantized model that still compute in float, each with the reason."""
    found = float_results(read_graph(content), activations=treatment.integer_activations)
    return tuple(LeftFloat(operator, tensor, fates.get(tensor, _UNTOLD)) for operator, tensor in found)


def counted(left: Sequence[LeftFloat]) -> dict[str, int]:
    """How often each operator stayed float."""
    return dict(Counter(one.operator for one in left))


def quantizer_version() -> str:
    """Of the installed ai-edge-quantizer.

    Raises:
        ConversionError: it is missing, or another than was tested.
    """
    try:
        version = metadata.version("ai-edge-quantizer")
    except metadata.PackageNotFoundError as error:
        raise ConversionError(
            "converting needs ai-edge-quantizer, which is not installed", hint="pip install 'edge-deploy[converter]'"
        ) from error
    if not version.startswith(_TESTED):
        raise ConversionError(
            f"ai-edge-quantizer {version} is installed; {_TESTED}x is needed",
            hint="pip install 'ai-edge-quantizer==0.10.*'",
        )
    return version
