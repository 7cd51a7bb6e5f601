"""From a Keras file to a float32 `.tflite`, by TensorFlow in a child process: `.keras` and `.h5`, of Keras 3 and 2.

The parent looks into the file without TensorFlow and refuses what cannot be converted; the child loads it with the
Keras that wrote it (tf_keras for Keras 2), converts, and leaves reference answers of Keras itself. Comparing the two is
left to `evaluate`. Run as `python -m converter.frontends.keras FOLDER` by `converter.child`.
"""

import json
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from converter.child import answer_parent, run_child
from converter.errors import ConversionError
from converter.frontends.contract import TIMEOUT_S, Wanted
from converter.frontends.extras import require
from converter.frontends.request import from_request, to_request

_MEMBERS = ("metadata.json", "config.json", "model.weights.h5")
# Layers whose configuration holds Python code, or names a file that holds some.
_CODE = ("Lambda", "__lambda__", "TorchModuleWrapper", "TFSMLayer", "JaxLayer", "FlaxLayer")
_AGAIN = "it may be cut off: copy it again, or save it again with model.save('model.keras')"
# What loading raises for a file that is wrong, of Keras, tf_keras and h5py.
_LOADING_ERRORS = (ValueError, TypeError, OSError, KeyError, AttributeError, NotImplementedError, ImportError)


def convert_keras(source: Path, folder: Path, wanted: Wanted | None = None) -> Mapping[str, str]:
    """Write `TFLITE_NAME` and `REFERENCE_NAME` into `folder`; gives the versions of the tools.

    `wanted.inputs` and `wanted.outputs` are names of layers.

    Raises:
        ConversionError: no whole Keras file, layers that hold code or that only its author has, a part missing here, or
            TensorFlow's own words.
    """
    wanted = wanted or Wanted()
    if source.suffix == ".h5" or _is_hdf5(source):
        _check_whole_hdf5(source)
        what = "a Keras .h5 model"
    else:
        config, _ = _read_config(source)
        _check_config(config, source, allow_code=wanted.allow_code)
        what = "a .keras model"
    require("keras", what)
    request = {"source": str(source.resolve()), "wanted": to_request(wanted)}
    versions: Mapping[str, str] = run_child(
        __name__, request, folder, what=f"converting {source.name} with TensorFlow", timeout_s=TIMEOUT_S
    )
    return versions


def _is_hdf5(source: Path) -> bool:
    with open(source, "rb") as file:
        return file.read(8) == b"\x89HDF\r\n\x1a\n"


def _check_whole_hdf5(source: Path) -> None:
    """The file is as long as its superblock says (HDF5 File Format Specification, II.A).

    Raises:
        ConversionError: it is shorter.
    """
    with open(source, "rb") as file:
        head = file.read(64)
    version, offset_bytes = (head[8], head[13] if head[8] < 2 else head[9]) if len(head) == 64 else (255, 0)
    # Before the end of the file stand the base address and, in between, one more address.
    position = {0: 24, 1: 28, 2: 12, 3: 12}.get(version)
    if position is None:
        if len(head) < 64:
            raise ConversionError(f"{source} is {len(head)} bytes long, which no HDF5 file is", hint=_AGAIN)
        return  # h5py says what is wrong
    start = position + 2 * offset_bytes
    stated, size_bytes = int.from_bytes(head[start : start + offset_bytes], "little"), source.stat().st_size
    if size_bytes < stated:
        raise ConversionError(
            f"{source} is not a whole HDF5 file: {size_bytes:,} of its {stated:,} bytes are there", hint=_AGAIN
        )


def _read_config(source: Path) -> tuple[Any, str]:
    """The model's configuration and the version of its Keras, once the file is known to be a whole `.keras` one."""
    if not zipfile.is_zipfile(source):
        raise ConversionError(f"{source} is not a whole .keras file: it is not a zip archive", hint=_AGAIN)
    try:
        with zipfile.ZipFile(source) as archive:
            missing = sorted(set(_MEMBERS) - set(archive.namelist()))
            if missing:
                raise ConversionError(
                    f"{source} is a zip archive but not a .keras file: it has no {', '.join(missing)}",
                    hint="save the model with model.save('model.keras')",
                )
            damaged = archive.testzip()
            metadata, config = json.loads(archive.read("metadata.json")), json.loads(archive.read("config.json"))
    except (zipfile.BadZipFile, ValueError, EOFError, RuntimeError, NotImplementedError, OSError) as error:
        raise ConversionError(f"{source} is damaged: {error}", hint="copy it again") from error
    if damaged:
        raise ConversionError(f"{source} is damaged: {damaged} has another checksum", hint="copy it again")
    return config, str(metadata.get("keras_version", "")) if isinstance(metadata, dict) else ""


def _check_config(config: Any, source: Path, *, allow_code: bool) -> None:
    code, foreign = set(), set()
    for entry in _objects(config):
        name = entry["class_name"]
        own = entry.get("config", {}).get("name", name) if isinstance(entry.get("config"), dict) else name
        if name in _CODE:
            code.add(str(own))
        elif not _is_of_keras(entry):
            foreign.add(str(name))
    problems = []
    if code and not allow_code:
        problems.append(f"Lambda layers ({', '.join(sorted(code))}), which hold Python code")
    if foreign:
        problems.append(f"classes that Keras does not have ({', '.join(sorted(foreign))})")
    if problems:
        rebuild = "build the model from Keras layers (keras.ops work too), or export it as .tflite where it was trained"
        allow = "pass --allow-code if you trust whoever made it; or " if code and not foreign else ""
        raise ConversionError(
            f"{source} has {' and '.join(problems)}; only layers of Keras itself are loaded", hint=allow + rebuild
        )


def _is_of_keras(entry: Mapping[str, Any]) -> bool:
    module = entry.get("module")
    if entry.get("registered_name") not in (None, entry["class_name"]):  # Package>Name: registered by its author
        return False
    return module is None or str(module) == "builtins" or str(module).split(".")[0] in ("keras", "tf_keras")


def _objects(tree: Any) -> Iterator[Mapping[str, Any]]:
    """Every serialized object in a Keras configuration."""
    if isinstance(tree, dict):
        if isinstance(tree.get("class_name"), str) and ("module" in tree or "config" in tree):
            yield tree
        for value in tree.values():
            yield from _objects(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _objects(value)


# --- in the child -------------------------------------------------------------------------------------------------


def _convert(folder: Path, request: Mapping[str, Any]) -> Mapping[str, str]:
    source, wanted = Path(request["source"]), from_request(request["wanted"])
    version = _check_hdf5(source, allow_code=wanted.allow_code) if _is_hdf5(source) else _read_config(source)[1]
    library, versions = _library(version)
    import tensorflow as tf

    from converter.frontends.tensorflow import fix_specs, plain_name, unloadable, write_model, write_reference

    try:
        # Keras' own lock stays on too: it finds code where the configuration has none that we know of.
        model = library.models.load_model(str(source), compile=False, safe_mode=not wanted.allow_code)
    except _LOADING_ERRORS as error:
        unknown = re.search(r"(?:Unknown \w+: '?|Could not locate \w+ ')(\w+)", str(error))
        what = f"classes that Keras does not have ({unknown[1]})" if unknown else f"Keras {version} cannot load it"
        raise unloadable(
            error, what, "build it from Keras layers, or export it as .tflite where it was trained"
        ) from error
    model = _cut(library, model, wanted)
    specs = fix_specs(
        [(plain_name(tensor.name), tf.TensorShape(tensor.shape), tf.as_dtype(tensor.dtype)) for tensor in model.inputs],
        wanted,
    )
    names = _output_names(model)

    def answer(*inputs: Any) -> Any:
        outputs = model(list(inputs) if len(inputs) > 1 else inputs[0], training=False)
        return dict(zip(names, tf.nest.flatten(outputs), strict=True))

    write_model(folder, answer, specs)
    write_reference(folder, answer, specs)
    return {"tensorflow": tf.__version__, **versions}


def _check_hdf5(source: Path, *, allow_code: bool) -> str:
    """The version of its Keras.

    Raises:
        ConversionError: it is damaged, holds no model, or layers that hold code.
    """
    import h5py

    try:
        with h5py.File(source) as file:
            attributes = {name: _text(file.attrs.get(name)) for name in ("model_config", "keras_version")}
            weights = "layer_names" in file.attrs or "layers" in file or "_layer_checkpoint_dependencies" in file
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise ConversionError(f"{source.name} is a damaged HDF5 file: {error}", hint=_AGAIN) from error
    if not attributes["model_config"]:
        what = "the weights of a Keras model without the model" if weights else "an HDF5 file but no Keras model"
        raise ConversionError(
            f"{source.name} holds {what}",
            hint="build the model, load_weights into it, and save it with model.save('model.keras')",
        )
    try:
        config = json.loads(attributes["model_config"])
    except ValueError as error:
        raise ConversionError(f"{source.name} is damaged: its configuration is no JSON", hint=_AGAIN) from error
    _check_config(config, Path(source.name), allow_code=allow_code)
    return attributes["keras_version"]


def _text(attribute: Any) -> str:
    return attribute.decode("utf-8", "replace") if isinstance(attribute, bytes) else str(attribute or "")


def _library(version: str) -> tuple[Any, dict[str, str]]:
    """The Keras that reads what this version wrote; files of before 2.3 name none."""
    if version.startswith("3."):
        import keras

        return keras, {"keras": keras.__version__}
    import tf_keras

    return tf_keras, {"tf_keras": tf_keras.__version__}


def _cut(library: Any, model: Any, wanted: Wanted) -> Any:
    """The part of the model between the outputs of the layers that are named."""
    if not wanted.inputs and not wanted.outputs:
        return model
    known = {layer.name: layer for layer in model.layers}
    unknown = [name for name in (*wanted.inputs, *wanted.outputs) if name not in known]
    if unknown:
        raise ConversionError(f"the model has no layer {', '.join(unknown)}", hint=f"it has {', '.join(known)}")
    ends = [_tensors(known, wanted.inputs) or model.inputs, _tensors(known, wanted.outputs) or model.outputs]
    try:
        return library.Model(*ends)
    except (ValueError, TypeError) as error:
        raise ConversionError(
            f"the model cannot be cut there: {str(error).splitlines()[0]}",
            hint="the outputs must depend on the inputs alone: name other layers",
        ) from error


def _tensors(layers: Mapping[str, Any], names: Sequence[str]) -> list[Any]:
    return [layers[name].output for name in names]


def _output_names(model: Any) -> list[str]:
    """The layers that make the outputs; one that makes several gives its name several times."""
    if hasattr(model.outputs[0], "_keras_history"):
        history = [tensor._keras_history for tensor in model.outputs]  # noqa: SLF001  # no public way
        names = [getattr(entry, "operation", None) or entry.layer for entry in history]
        found = [operation.name for operation in names]
    else:
        found = list(model.output_names)
    return [name if found.count(name) == 1 else f"{name}_{index}" for index, name in enumerate(found)]


if __name__ == "__main__":
    answer_parent("converter.frontends.keras", _convert)
