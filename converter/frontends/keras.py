"""From a `.keras` file (Keras 3) to a float32 `.tflite`, by TensorFlow in a child process.

The parent looks into the file without TensorFlow and refuses what cannot be converted; the child fixes the batch to 1,
converts, and leaves reference answers of Keras itself. Comparing the two is left to `fidelity`. Run as
`python -m converter.frontends.keras FOLDER` by `converter.child`.
"""

import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from converter.child import answer_parent, run_child
from converter.errors import ConversionError
from converter.frontends.contract import REFERENCE_NAME, REFERENCES, TFLITE_NAME, TIMEOUT_S
from converter.frontends.extras import require

_MEMBERS = ("metadata.json", "config.json", "model.weights.h5")


def convert_keras(source: Path, folder: Path) -> Mapping[str, str]:
    """Write `TFLITE_NAME` and `REFERENCE_NAME` into `folder`; gives the versions of the tools.

    Raises:
        ConversionError: not a Keras 3 file, layers that only its author's code knows, no TensorFlow, or TensorFlow's
            own words.
    """
    _check_config(_read_config(source), source)
    require("keras", "a .keras model")
    request = {"source": str(source.resolve())}
    versions: Mapping[str, str] = run_child(
        __name__, request, folder, what=f"converting {source.name} with TensorFlow", timeout_s=TIMEOUT_S
    )
    return versions


def _read_config(source: Path) -> Any:
    """The model's configuration, once the file is known to be a whole Keras 3 one."""
    if not zipfile.is_zipfile(source):
        raise ConversionError(
            f"{source} is not a whole .keras file: it is not a zip archive",
            hint="it may be cut off: copy it again, or save it again with model.save('model.keras')",
        )
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
    version = str(metadata.get("keras_version", "")) if isinstance(metadata, dict) else ""
    if version.startswith(("1.", "2.")):
        raise ConversionError(
            f"{source} was saved by Keras {version}; Keras 3 is needed",
            hint="load it with tf_keras and convert it to .tflite there, or train it again with Keras 3",
        )
    return config


def _check_config(config: Any, source: Path) -> None:
    lambdas, foreign = set(), set()
    for entry in _objects(config):
        name = entry["class_name"]
        own = entry.get("config", {}).get("name", name) if isinstance(entry.get("config"), dict) else name
        if name == "Lambda":
            lambdas.add(str(own))
        elif not _is_of_keras(entry):
            foreign.add(str(name))
    problems = []
    if lambdas:
        problems.append(f"Lambda layers ({', '.join(sorted(lambdas))}), which hold Python code")
    if foreign:
        problems.append(f"classes that Keras does not have ({', '.join(sorted(foreign))})")
    if problems:
        raise ConversionError(
            f"{source} has {' and '.join(problems)}; only layers of Keras itself are loaded",
            hint="build the model from Keras layers (keras.ops work too), or export it as .tflite where it was trained",
        )


def _is_of_keras(entry: Mapping[str, Any]) -> bool:
    module = entry.get("module")
    if entry.get("registered_name") not in (None, entry["class_name"]):  # Package>Name: registered by its author
        return False
    return module is None or str(module) == "builtins" or str(module).split(".")[0] == "keras"


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
    import keras
    import numpy as np
    import tensorflow as tf

    try:
        model = keras.models.load_model(request["source"], compile=False)
    except (ValueError, TypeError, OSError, KeyError, AttributeError, NotImplementedError) as error:
        raise ConversionError(
            f"Keras {keras.__version__} cannot load it: {_first_line(error)}", hint="save it again with this Keras"
        ) from error
    specs = [_fixed(tf, tensor) for tensor in model.inputs]
    names = _unique([tensor._keras_history.operation.name for tensor in model.outputs])  # noqa: SLF001  # no public way

    def answer(*inputs: Any) -> Any:
        outputs = model(list(inputs) if len(inputs) > 1 else inputs[0], training=False)
        return dict(zip(names, outputs if isinstance(outputs, list | tuple) else [outputs], strict=True))

    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serving_default", answer, input_signature=specs)
    archive.write_out(str(folder / "exported"))
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / "exported"), signature_keys=["serving_default"])
    try:
        content = converter.convert()
    except Exception as error:  # the class is private to TensorFlow, which raises it for all it cannot convert
        if type(error).__name__ != "ConverterError":
            raise
        raise _unconvertible(error) from error
    (folder / TFLITE_NAME).write_bytes(content)

    generator = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    answers: dict[str, list[Any]] = {name: [] for name in names}
    samples = [[generator.random(spec.shape, np.float32) for spec in specs] for _ in range(REFERENCES)]
    for sample in samples:
        inputs = [tf.cast(value, spec.dtype) for value, spec in zip(sample, specs, strict=True)]
        for name, output in answer(*inputs).items():
            answers[name].append(np.asarray(output))
    for number, spec in enumerate(specs):
        arrays[f"in:{spec.name}"] = np.stack([sample[number] for sample in samples]).astype(spec.dtype.as_numpy_dtype)
    arrays.update({f"out:{name}": np.stack(values) for name, values in answers.items()})
    np.savez(folder / REFERENCE_NAME, **arrays)
    return {"tensorflow": tf.__version__, "keras": keras.__version__}


def _unique(names: list[str]) -> list[str]:
    """A layer with several outputs gives its name several times."""
    return [name if names.count(name) == 1 else f"{name}_{index}" for index, name in enumerate(names)]


def _fixed(tf: Any, tensor: Any) -> Any:
    """The specification of an input with a batch of 1."""
    name = str(tensor.name).split(":")[0]
    shape = [1, *tensor.shape[1:]]
    if None in shape:
        raise ConversionError(
            f"input {name} has a size that is not fixed: {tensor.shape}",
            hint="give keras.Input a full shape and save again",
        )
    return tf.TensorSpec(shape, tensor.dtype, name=name)


def _unconvertible(error: Exception) -> ConversionError:
    operators = sorted(set(re.findall(r"'?tf\.(\w+)'? (?:op|\()", str(error))))
    if operators:
        return ConversionError(
            f"there is no TFLite kernel for {', '.join(operators)}", hint="replace the layers that use them"
        )
    return ConversionError(f"TensorFlow cannot convert it: {_first_line(error)}")


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


if __name__ == "__main__":
    answer_parent("converter.frontends.keras", _convert)
