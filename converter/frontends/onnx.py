"""From an ONNX file to a float32 `.tflite`: our own operators on PyTorch, converted by litert-torch in a child process.

The parent reads the file without a library and refuses what is damaged, quantized, of open sizes or not a number;
the child converts it and leaves ONNX Runtime's answers. Run as `python -m converter.frontends.onnx FOLDER` by
`converter.child`. What the operators do is left to `onnx_model`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from converter.child import answer_parent, run_child
from converter.errors import ConversionError
from converter.frontends.class_names import class_names_of_onnx, write_class_names
from converter.frontends.contract import REFERENCES, TIMEOUT_S, Wanted, leave_notes
from converter.frontends.extras import require
from converter.frontends.lowering import Array, lower, made_up, versions, write_reference
from converter.frontends.onnx_model import wire
from converter.frontends.onnx_model.ends import Ends, declared_inputs, find_ends
from converter.frontends.onnx_model.model import OnnxModel, read_onnx
from converter.frontends.request import from_request, to_request
from converter.frontends.sizes import Shape, fix_sizes

NEWEST_OPSET = 24
_OLDEST_OPSET = 7
_OF_TABLES = "ai.onnx.ml"
_TABLE_SCALES = (
    1.0,
    10.0,
    100.0,
    1.0,
)  # rows of a table have any unit: made-up ones are to reach all parts of a forest
_NAMED = 5


def convert_onnx(source: Path, folder: Path, wanted: Wanted) -> Mapping[str, str]:
    """Write `TFLITE_NAME` and `REFERENCE_NAME` into `folder`; gives the versions of the tools.

    Pictures and windows, [batch, channels, …] in ONNX, come out [batch, …, channels] at both ends.

    Raises:
        ConversionError: the file is damaged or lacks its weights, has operators that are not converted, sizes that are
            open, no ends of the names that are wanted; or a library is not installed.
    """
    model = read_onnx(source)
    check_model(model, source)
    find_ends(model, wanted)
    fix_sizes(declared_inputs(model), wanted.input_shapes)
    require("onnx", "an ONNX model")
    leave_notes(folder, _rounded(model))
    request = {"source": str(source.resolve()), "wanted": to_request(wanted)}
    found: Mapping[str, str] = run_child(
        __name__, request, folder, what=f"converting {source.name}", timeout_s=TIMEOUT_S
    )
    return found


def _rounded(model: OnnxModel) -> list[str]:
    """What is float64 in the file, and float32 on the device."""
    inputs = [end.name for end in declared_inputs(model) if end.dtype == np.float64]
    weights = [name for name, array in model.graph.weights.items() if array.dtype == np.float64]
    return [
        f"float64 becomes float32: {len(names)} {what} ({', '.join(names[:_NAMED])}{', …' * (len(names) > _NAMED)})"
        for what, names in (("inputs", inputs), ("weights", weights))
        if names
    ]


def check_model(model: OnnxModel, source: Path) -> None:
    """Raises:
    ConversionError: an opset of other times, or weights that are NaN or Inf.
    """
    if not _OLDEST_OPSET <= model.opset <= NEWEST_OPSET and "" in model.opsets:
        raise ConversionError(
            f"{source} is of opset {model.opset}; {_OLDEST_OPSET} to {NEWEST_OPSET} are read",
            hint=f"export it with opset_version={min(NEWEST_OPSET, 18)}",
        )
    broken = sorted(
        name
        for name, array in model.graph.weights.items()
        if array.dtype.kind == "f" and array.ndim and not np.isfinite(array).all()
    )
    if broken:
        raise ConversionError(
            f"{source}: {len(broken)} weights hold NaN or Inf ({', '.join(broken[:_NAMED])})",
            hint="the training went wrong, or the file is damaged; export it again from a checkpoint that is sound",
        )


# --- in the child -------------------------------------------------------------------------------------------------


def _convert(folder: Path, request: Mapping[str, Any]) -> Mapping[str, str]:
    convert_read(Path(request["source"]), folder, from_request(request["wanted"]))
    return versions("onnxruntime")


def convert_read(source: Path, folder: Path, wanted: Wanted) -> None:
    """Convert a file that has passed the parent's checks."""
    import torch

    from converter.frontends.onnx_model.plan import check_operators, make_plan
    from converter.frontends.onnx_model.program import Program, channels_last_axes

    model = read_onnx(source)
    ends = find_ends(model, wanted)
    check_operators(ends)
    shapes = fix_sizes(declared_inputs(model), wanted.input_shapes)
    inputs, outputs = _reference(source, model, ends, shapes)
    plan = make_plan(model, ends, {name: arrays[0].shape for name, arrays in inputs.items()})

    def laid(name: str, arrays: Sequence[Array]) -> list[Array]:
        first = name in plan.channels_first
        return [array.transpose(channels_last_axes(array.ndim)) if first else array for array in arrays]

    given = {name: laid(name, inputs[name]) for name in plan.inputs}
    told = {name: laid(value, outputs[name]) for name, value in zip(ends.output_names, plan.outputs, strict=True)}
    write_reference(folder, given, told)
    write_class_names(folder, class_names_of_onnx(model, ends))
    samples = [torch.from_numpy(np.ascontiguousarray(as_device(arrays[0]))) for arrays in given.values()]
    lower(Program(plan), samples, plan.inputs, ends.output_names, folder)


def as_device(array: Array) -> Array:
    """Floats have 32 bits on the device. Whole numbers get theirs from litert-torch."""
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def _reference(
    source: Path, model: OnnxModel, ends: Ends, shapes: Mapping[str, Shape]
) -> tuple[dict[str, list[Array]], dict[str, list[Array]]]:
    """What ONNX Runtime takes and gives, by name. Where the model is cut, the inputs are what it computes there."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(source.parent))
    own = {value.name for value in (*model.graph.inputs, *model.graph.outputs)}
    asked = [*ends.inputs, *ends.outputs]
    content = _with_outputs(source.read_bytes(), [name for name in dict.fromkeys(asked) if name not in own])
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        generator = np.random.default_rng(0)
        inputs: dict[str, list[Array]] = {name: [] for name in ends.inputs}
        outputs: dict[str, list[Array]] = {name: [] for name in ends.output_names}
        scales = _TABLE_SCALES if _OF_TABLES in model.opsets else (1.0,) * REFERENCES
        declared = {end.name: end for end in declared_inputs(model)}
        for scale in scales[:REFERENCES]:
            fed = {name: made_up(generator, shapes[name], end.dtype, scale) for name, end in declared.items()}
            computed = [name for name in dict.fromkeys(asked) if name not in fed]
            found = dict(zip(computed, session.run(computed, fed), strict=True)) | fed
            for name in ends.inputs:
                inputs[name].append(found[name])
            for name, value in zip(ends.output_names, ends.outputs, strict=True):
                outputs[name].append(np.asarray(found[value]))
    except Exception as error:  # its exceptions have no common class
        if type(error).__module__.partition(".")[0] != "onnxruntime" and not isinstance(
            error, ValueError | RuntimeError
        ):
            raise
        said = str(error).strip().splitlines()[0]
        raise ConversionError(
            f"ONNX Runtime cannot run it: {said}", hint="the file may be damaged, or its inputs may need other sizes"
        ) from error
    return inputs, outputs


def _with_outputs(content: bytes, names: Sequence[str]) -> bytes:
    """The model with further outputs: a message that is appended to another of its kind is merged with it."""
    more = b"".join(wire.length_prefixed(12, wire.length_prefixed(1, name.encode())) for name in names)
    return content + wire.length_prefixed(7, more) if names else content


if __name__ == "__main__":
    answer_parent("converter.frontends.onnx", _convert)
