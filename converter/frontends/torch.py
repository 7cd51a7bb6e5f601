"""From a PyTorch file to a float32 `.tflite`: an exported program (`.pt2`) or TorchScript, by litert-torch in a child.

The parent looks at the members of the file without PyTorch and refuses what is not a program. Both kinds are traced
to one graph of PyTorch's operators (`torch_graph`), whose pictures are made channels-last. Run as
`python -m converter.frontends.torch FOLDER` by `converter.child`.

What of a file is run: an exported program is data, and TorchScript a language of its own without files or network,
run by PyTorch's interpreter. Pickles are Python; an exported program whose weights are pickles needs `allow_code`.
"""

import json
import os
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from converter.child import answer_parent, run_child
from converter.errors import ConversionError
from converter.frontends.contract import REFERENCES, TIMEOUT_S, Wanted
from converter.frontends.extras import require
from converter.frontends.lowering import Array, lower, made_up, versions, write_reference
from converter.frontends.request import from_request, to_request
from converter.frontends.sizes import Declared, Shape, fix_sizes

_EXPORT = "export the model: torch.export.save(torch.export.export(model.eval(), (example,)), 'model.pt2')"
_CONFIGS = ("weights_config.json", "constants_config.json")  # which say of each weight how it is kept
_PLAIN = ("weight_", "tensor_")  # custom_obj_ and opaque_obj_ are pickles whatever else is said of them


def convert_pt2(source: Path, folder: Path, wanted: Wanted) -> Mapping[str, str]:
    """Write `TFLITE_NAME` and `REFERENCE_NAME` into `folder`; gives the versions of the tools.

    The sizes are those of the example inputs, a batch that is left open being 1.

    Raises:
        ConversionError: the file is damaged or no exported program, needs code to be run, or cannot be converted.
    """
    members = _members(source)
    _check_kind(source, members, "pt2")
    if not wanted.allow_code and _has_pickled_weights(source):
        raise ConversionError(
            f"{source} keeps weights or constants as pickles, which are Python code that runs when they are read",
            hint="pass --allow-code if you trust whoever made it, or export it again with plain tensors",
        )
    return _run(source, folder, wanted, "pt2")


def convert_torchscript(source: Path, folder: Path, wanted: Wanted) -> Mapping[str, str]:
    """Write `TFLITE_NAME` and `REFERENCE_NAME` into `folder`; gives the versions of the tools.

    `wanted.input_shapes` gives the shape of every tensor, and the value of an argument that is a number. A state that
    the module keeps in its attributes becomes inputs and outputs: `state` is fed by `state_out`.

    Raises:
        ConversionError: the file is damaged or no TorchScript, a shape is not given, or it cannot be converted.
    """
    _check_kind(source, _members(source), "torchscript")
    return _run(source, folder, wanted, "torchscript")


def _run(source: Path, folder: Path, wanted: Wanted, kind: str) -> Mapping[str, str]:
    if wanted.inputs or wanted.outputs:
        raise ConversionError(
            "a PyTorch program cannot be cut at inputs and outputs of other names",
            hint="export the part of the model that is wanted",
        )
    require("torch", "a PyTorch model")
    request = {"source": str(source.resolve()), "kind": kind, "wanted": to_request(wanted)}
    found: Mapping[str, str] = run_child(
        __name__, request, folder, what=f"converting {source.name} with litert-torch", timeout_s=TIMEOUT_S
    )
    return found


def _members(source: Path) -> list[str]:
    """Paths inside of the archive, without the folder that PyTorch puts around them."""
    try:
        with zipfile.ZipFile(source) as archive:
            damaged = archive.testzip()
            names = archive.namelist()
    except OSError as error:
        raise ConversionError(f"{source}: {error.strerror}", hint="check the path") from error
    except (zipfile.BadZipFile, ValueError, EOFError, RuntimeError, NotImplementedError) as error:
        raise ConversionError(
            f"{source} is not a whole PyTorch file: {error}",
            hint="it may be cut off: copy it again, or export it again",
        ) from error
    if damaged:
        raise ConversionError(f"{source} is damaged: {damaged} has another checksum", hint="copy it again")
    return [name.partition("/")[2] for name in names]


def kind_of(members: Sequence[str]) -> str:
    """`pt2`, `torchscript`, `pickle` (of `torch.save`) or `unknown`, by the members of an archive."""
    if any(name.startswith("models/") for name in members) or "serialized_exported_program.json" in members:
        return "pt2"
    if "constants.pkl" in members and any(name.startswith("code/") for name in members):
        return "torchscript"
    return "pickle" if "data.pkl" in members else "unknown"


def _check_kind(source: Path, members: Sequence[str], wanted: str) -> None:
    found = kind_of(members)
    if found == wanted:
        return
    if found == "pickle":
        raise ConversionError(
            f"{source} was written by torch.save: weights (a state_dict) or a pickled object, without the program",
            hint=_EXPORT,
        )
    names = {"pt2": "an exported program (.pt2)", "torchscript": "TorchScript", "unknown": "something else"}
    raise ConversionError(f"{source} is {names[found]}, not {names[wanted]}", hint=_EXPORT)


def _has_pickled_weights(source: Path) -> bool:
    """Whether a weight or a constant is anything but plain numbers."""
    with zipfile.ZipFile(source) as archive:
        for name in archive.namelist():
            if not name.endswith(_CONFIGS):
                continue
            try:
                config = json.loads(archive.read(name))
            except ValueError as error:
                raise ConversionError(f"{source} is damaged: {name} is no JSON", hint="copy it again") from error
            entries = config.get("config", {}) if isinstance(config, dict) else {}
            if not all(_is_plain(entry) for entry in entries.values()):
                return True
    return False


def _is_plain(entry: Any) -> bool:
    if not isinstance(entry, dict):
        return False
    return entry.get("use_pickle") is False and str(entry.get("path_name", "")).startswith(_PLAIN)


# --- in the child -------------------------------------------------------------------------------------------------


def _convert(folder: Path, request: Mapping[str, Any]) -> Mapping[str, str]:
    import torch

    from converter.frontends.torch_graph import trace_channels_last

    source, wanted = Path(request["source"]), from_request(request["wanted"])
    opened = _open_program if request["kind"] == "pt2" else _open_script
    with torch.no_grad():
        function, declared, shapes, names = opened(source, wanted)
        _check_inputs(declared)
        traced = trace_channels_last(function, [_zeros(end, shapes) for end in declared])
        generator = np.random.default_rng(0)
        inputs: dict[str, list[Array]] = {end.name: [] for end in declared}
        outputs: dict[str, list[Array]] = {}
        for _ in range(REFERENCES):
            fed = [made_up(generator, shapes[end.name], end.dtype) for end in declared]
            told = function(*(torch.from_numpy(array.copy()) for array in fed))
            for end, array, axes in zip(declared, fed, traced.input_axes, strict=True):
                inputs[end.name].append(array.transpose(axes))
            for number, (value, axes) in enumerate(zip(told, traced.output_axes, strict=True)):
                outputs.setdefault(names(number, len(told)), []).append(value.numpy().transpose(axes))
    used = [place for place, is_used in enumerate(traced.used) if is_used]
    kept = {declared[place].name: inputs[declared[place].name] for place in used}
    write_reference(folder, kept, outputs)
    samples = [torch.from_numpy(np.ascontiguousarray(arrays[0])) for arrays in kept.values()]
    lower(traced.module, samples, list(kept), list(outputs), folder)
    return versions()


def _check_inputs(declared: Sequence[Declared]) -> None:
    for end in declared:
        if end.dtype.kind == "f" and end.dtype != np.float32:
            raise ConversionError(
                f"input {end.name} is {end.dtype}; a device computes in float32",
                hint="export model.float() with a float32 example",
            )


def _zeros(end: Declared, shapes: Mapping[str, Shape]) -> Any:
    import torch

    return torch.from_numpy(np.zeros(shapes[end.name], end.dtype))


Function = Callable[..., tuple[Any, ...]]  # of the tensors that are declared, in their order
Names = Callable[[int, int], str]  # of an output, by its place and the number of all


def _open_program(source: Path, wanted: Wanted) -> tuple[Function, list[Declared], dict[str, Shape], Names]:
    import torch
    from torch.utils import _pytree as pytree

    if not wanted.allow_code:  # else PyTorch reads example inputs as Python where they are more than tensors
        os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
    try:
        program = torch.export.load(str(source))
    except Exception as error:  # whatever its parts raise
        raise ConversionError(
            f"PyTorch {torch.__version__} cannot load it: {_last_line(error)}", hint=f"{_EXPORT}, with this PyTorch"
        ) from error
    _check_weights({**program.state_dict, **program.constants})
    values = {node.name: node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder"}
    leaves, structure = _leaves(pytree, program)
    declared, places = [], []
    for place, (name, leaf) in enumerate(zip(program.graph_signature.user_inputs, leaves, strict=True)):
        value = values.get(name)
        if value is not None and torch.is_tensor(value):
            declared.append(Declared(str(name), _open_sizes(value.shape), _dtype_of(value)))
            places.append(place)
        elif torch.is_tensor(leaf):
            raise ConversionError(f"input {name} is no plain tensor", hint=_EXPORT)
    module = program.module(check_guards=False)

    def run(*tensors: Any) -> tuple[Any, ...]:
        filled = list(leaves)
        for place, tensor in zip(places, tensors, strict=True):
            filled[place] = tensor
        args, kwargs = pytree.tree_unflatten(filled, structure)
        return _tensors(module(*args, **kwargs))

    spec = program.call_spec.out_spec
    keys = list(spec.context) if spec is not None and spec.type is dict else []

    def names(number: int, count: int) -> str:
        return str(keys[number]) if len(keys) == count else _counted(number, count)

    return run, declared, fix_sizes(declared, wanted.input_shapes), names


def _leaves(pytree: Any, program: Any) -> tuple[list[Any], Any]:
    """The example inputs one after the other, None where the file has none; and how they are put together."""
    structure = program.call_spec.in_spec
    if program.example_inputs is None:
        return [None] * structure.num_leaves, structure
    return pytree.tree_flatten(program.example_inputs)[0], structure


def _open_sizes(shape: Sequence[Any]) -> tuple[int | str | None, ...]:
    return tuple(size if isinstance(size, int) else str(size) for size in shape)


def _open_script(source: Path, wanted: Wanted) -> tuple[Function, list[Declared], dict[str, Shape], Names]:
    import torch

    from converter.frontends.torch_state import State

    try:
        module = torch.jit.load(str(source), map_location="cpu").eval()
    except (RuntimeError, ValueError, TypeError) as error:
        raise ConversionError(
            f"PyTorch {torch.__version__} cannot load it: {_last_line(error)}", hint="it may be damaged: copy it again"
        ) from error
    _check_weights(dict(module.state_dict()))
    arguments = [argument for argument in module.forward.schema.arguments if argument.name != "self"]
    tensors = [argument.name for argument in arguments if str(argument.type) == "Tensor"]
    given = _named(tensors, wanted.input_shapes)
    _check_arguments(arguments, tensors, given)
    numbers = {
        argument.name: given[argument.name][0]
        for argument in arguments
        if argument.name in given and argument.name not in tensors
    }

    def call(*values: Any) -> tuple[Any, ...]:
        return _tensors(module(**dict(zip(tensors, values, strict=True)), **numbers))

    first = [torch.zeros(given[name]) for name in tensors]
    try:
        state = State.find(module, lambda: call(*first))
    except (RuntimeError, torch.jit.Error) as error:
        shapes = ", ".join(f"{name}={','.join(map(str, given[name]))}" for name in given)
        raise ConversionError(
            f"it does not run with {shapes}: {_last_line(error)}", hint="state other shapes with --input-shape NAME=1,…"
        ) from error
    declared = [*(Declared(name, given[name], np.dtype(np.float32)) for name in tensors), *state.declared]

    def run(*values: Any) -> tuple[Any, ...]:
        state.set(values[len(tensors) :])
        return (*call(*values[: len(tensors)]), *state.get())

    def names(number: int, count: int) -> str:
        own = count - len(state.declared)
        return _counted(number, own) if number < own else f"{state.declared[number - own].name}_out"

    return run, declared, fix_sizes(declared, {}), names


def _named(tensors: Sequence[str], shapes: Mapping[str, Shape]) -> dict[str, Shape]:
    return {(tensors[0] if name == "" and len(tensors) == 1 else name): shape for name, shape in shapes.items()}


def _check_arguments(arguments: Sequence[Any], tensors: Sequence[str], given: Mapping[str, Shape]) -> None:
    names = [argument.name for argument in arguments]
    unknown = sorted(set(given) - set(names))
    if unknown:
        raise ConversionError(f"it has no input {unknown[0]!r}", hint=f"it takes {', '.join(names)}")
    open_ones = [a for a in arguments if a.name not in given and (a.name in tensors or not a.has_default_value())]
    if open_ones:
        shapes = " ".join(f"--input-shape {a.name}={'1,…' if a.name in tensors else 'NUMBER'}" for a in open_ones)
        listed = ", ".join(f"{a.name} ({a.type})" for a in open_ones)
        raise ConversionError(
            f"TorchScript does not tell the sizes of its inputs: {listed}", hint=f"state them: {shapes}"
        )
    odd = [
        a
        for a in arguments
        if a.name in given and a.name not in tensors and str(a.type) not in ("int", "float", "bool")
    ]
    if odd:
        raise ConversionError(
            f"input {odd[0].name} is {odd[0].type}; tensors and numbers are converted",
            hint="wrap the module to take tensors",
        )


def _check_weights(weights: Mapping[str, Any]) -> None:
    import torch

    tensors = {name: value for name, value in weights.items() if torch.is_tensor(value)}
    half = sorted(
        {
            str(value.dtype).removeprefix("torch.")
            for value in tensors.values()
            if value.is_floating_point() and value.dtype != torch.float32
        }
    )
    if half:
        raise ConversionError(
            f"its weights are {', '.join(half)}; a float32 model is needed",
            hint="export model.float(); --scheme float16 makes them small again",
        )
    if any(value.is_quantized for value in tensors.values()):
        raise ConversionError("it is quantized already; a float32 model is needed", hint="export it before")
    broken = sorted(
        name for name, value in tensors.items() if value.is_floating_point() and not torch.isfinite(value).all()
    )
    if broken:
        raise ConversionError(
            f"{len(broken)} weights hold NaN or Inf ({', '.join(broken[:5])})",
            hint="the training went wrong; export it again from a checkpoint that is sound",
        )


def _tensors(told: Any) -> tuple[Any, ...]:
    import torch
    from torch.utils import _pytree as pytree

    found = tuple(leaf for leaf in pytree.tree_flatten(told)[0] if torch.is_tensor(leaf))
    if not found:
        raise ConversionError("it gives no tensor", hint="let its forward return a tensor, a tuple or a dict of them")
    return found


def _counted(number: int, count: int) -> str:
    return "output" if count == 1 else f"output_{number}"


def _dtype_of(value: Any) -> np.dtype[Any]:
    name = str(value.dtype).removeprefix("torch.")
    return np.dtype(name) if name != "bfloat16" else np.dtype(np.float16)


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if re.match(r"\w+(Error|Exception): ", line)]
    return (told or lines or [type(error).__name__])[-1]


if __name__ == "__main__":
    answer_parent("converter.frontends.torch", _convert)
