"""From a PyTorch module to a `.tflite` that loads, by litert-torch; and the framework's answers beside it.

Runs in the children of the front-ends for ONNX, PyTorch and scikit-learn. Pictures are channels-last here already.
"""

import re
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converter.errors import ConversionError
from converter.frontends.contract import REFERENCE_NAME, TFLITE_NAME
from converter.tflite_schema import name_ends
from edge_agent.errors import EdgeError
from edge_agent.inference.tflite import open_engine

Array = NDArray[Any]

_REPLACE = "replace it where the model was made, or cut the model before it with --outputs"


def versions(*distributions: str) -> dict[str, str]:
    return {name: metadata.version(name) for name in ("torch", "litert-torch", *distributions)}


def lower(module: Any, samples: Sequence[Any], inputs: Sequence[str], outputs: Sequence[str], folder: Path) -> None:
    """Write `TFLITE_NAME`: `module` of these sample tensors, its inputs and outputs named so, checked to load.

    Raises:
        ConversionError: an operator that litert-torch or the interpreter does not have, or litert-torch's own words.
    """
    import litert_torch
    import torch

    module.eval()
    _teach_padding()
    try:
        with torch.no_grad():
            model = litert_torch.convert(module, tuple(samples))
        model.export(str(folder / "unnamed.tflite"))
    except Exception as error:  # it raises whatever its many parts raise
        whole = [name for name, sample in zip(inputs, samples, strict=True) if not sample.is_floating_point()]
        raise _unconvertible(error, whole) from error
    content = name_ends((folder / "unnamed.tflite").read_bytes(), inputs, outputs)
    (folder / TFLITE_NAME).write_bytes(content)
    check_loads(folder / TFLITE_NAME)


def check_loads(path: Path) -> None:
    """Raises:
    ConversionError: the interpreter does not load it, with the operator's name.
    """
    try:
        with open_engine(path):
            return
    except EdgeError as error:
        found = re.search(r"builtin opcode '(\w+)'|custom op: (\w+)", str(error))
        if found is None:
            raise
        raise ConversionError(
            f"the interpreter has no operator {found[1] or found[2]}, which the model needs", hint=_REPLACE
        ) from error


def write_reference(
    folder: Path, inputs: Mapping[str, Sequence[Array]], outputs: Mapping[str, Sequence[Array]]
) -> None:
    """Write `REFERENCE_NAME`: what the framework answers, with 32 bits where it has 64, as the device does."""
    ends = {f"in:{name}": arrays for name, arrays in inputs.items()}
    ends.update({f"out:{name}": arrays for name, arrays in outputs.items()})
    arrays = {name: narrowed(np.stack(values)) for name, values in ends.items()}
    broken = [name for name, array in arrays.items() if array.dtype.kind == "f" and not np.isfinite(array).all()]
    if broken:
        raise ConversionError(
            f"{broken[0].partition(':')[2]} is NaN or Inf for made-up inputs, with the framework already",
            hint="look for NaN in the weights, or logarithms and divisions of what may be 0",
        )
    np.savez(folder / REFERENCE_NAME, allow_pickle=False, **arrays)


def narrowed(array: Array) -> Array:
    kinds = {"f": np.float32, "i": np.int32, "u": np.int32}
    wide = array.dtype.itemsize > 4 or array.dtype == np.float16
    return array.astype(kinds[array.dtype.kind]) if wide and array.dtype.kind in kinds else array


def made_up(generator: np.random.Generator, shape: Sequence[int], dtype: np.dtype[Any], scale: float = 1.0) -> Array:
    """An input to compare by: from 0 to `scale`; whole numbers are 0 and 1."""
    if dtype.kind == "f":
        return (generator.random(tuple(shape)) * scale).astype(dtype)
    return generator.integers(0, 2, tuple(shape)).astype(dtype)


def _teach_padding() -> None:
    """Have litert-torch pad pictures as they lie: 0.10 has no rule for it, and would transpose them to and fro."""
    import torch
    from litert_torch._convert.fx_passes.optimize_layout_transposes_pass import layout_rewrite

    padding = torch.ops.aten.constant_pad_nd.default

    def rewrite(node: Any) -> None:
        pads = [*node.args[1], *[0] * (8 - len(node.args[1]))]  # width, height, channels, batch: before and after
        moved = [*pads[4:6], *pads[:4], *pads[6:]]
        node.args = (node.args[0], moved, *node.args[2:])

    if padding not in layout_rewrite.rewriters:
        layout_rewrite.rewriters.register(padding)(rewrite)


def _unconvertible(error: Exception, whole: Sequence[str]) -> ConversionError:
    """`whole`: inputs of whole numbers, for which many operators have no kernel."""
    text = str(error)
    lowering = sorted(set(re.findall(r"Lowering not found: (?:torch\.ops\.)?(\w+\.\w+)", text)))
    if lowering:
        return ConversionError(f"litert-torch cannot convert {', '.join(lowering)}", hint=_REPLACE)
    if "data-dependent" in text or "GuardOnDataDependent" in type(error).__name__:
        return ConversionError(
            "what the model does depends on the values of its input (an if, a loop, a size), which TFLite cannot",
            hint="write it with torch.where, or export the branches as models of their own",
        )
    refused = re.search(r"'tfl\.(\w+)'", text)
    if refused and whole:
        return ConversionError(
            f"TFLite's {refused[1].upper()} takes no whole numbers, and input {', '.join(whole)} is of whole numbers",
            hint="export the model with float inputs, or cut it behind what makes floats of them with --inputs",
        )
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    said = lines[0] if lines else type(error).__name__
    return ConversionError(f"litert-torch cannot convert it: {said}", hint="see docs/frontends.md for what it can")
