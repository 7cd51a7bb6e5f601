"""From a SavedModel directory (TensorFlow 2, or `simple_save` of TensorFlow 1) to a float32 `.tflite`, in a child.

The parent looks whether the directory is whole; the child takes one signature, freezes its weights, fixes the batch to
1, converts, and leaves the signature's own answers. Run as `python -m converter.frontends.saved_model FOLDER`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from converter.child import answer_parent, run_child
from converter.errors import ConversionError
from converter.frontends.contract import TIMEOUT_S, Wanted
from converter.frontends.extras import require
from converter.frontends.onnx_model.wire import WireError, fields
from converter.frontends.request import from_request, to_request

FILE = "saved_model.pb"
_TEXT_FILE = "saved_model.pbtxt"
_INDEX, _SHARD = "variables.index", "variables.data-"
_COPY = "it may be cut off: copy the whole directory again, with its folder 'variables'"
_OF_LOADER = ("__saved_model_init_op", "__saved_model_train_op")  # no signatures that somebody calls


def convert_saved_model(source: Path, folder: Path, wanted: Wanted) -> Mapping[str, str]:
    """Write `TFLITE_NAME` and `REFERENCE_NAME` into `folder`; gives the versions of the tools.

    `wanted.outputs` chooses among the outputs of the signature.

    Raises:
        ConversionError: the directory is not whole, has several signatures of which none is named, sizes that are
            open; or TensorFlow's own words.
    """
    _check_is_whole(source)
    if wanted.inputs:
        raise ConversionError(
            "a SavedModel cannot be cut at other inputs than those of a signature",
            hint="name one with --signature, or export the part that is wanted",
        )
    require("keras", "a SavedModel")
    request = {"source": str(source.resolve()), "wanted": to_request(wanted)}
    versions: Mapping[str, str] = run_child(
        __name__, request, folder, what=f"converting {source.name} with TensorFlow", timeout_s=TIMEOUT_S
    )
    return versions


def _check_is_whole(source: Path) -> None:
    graph, variables = source / FILE, source / "variables"
    try:
        if graph.exists():
            for _ in fields(memoryview(graph.read_bytes())):
                pass
        shards = sorted(path.name for path in variables.iterdir()) if variables.is_dir() else []
    except OSError as error:
        raise ConversionError(f"{source}: {error.strerror}", hint="check the path") from error
    except WireError as error:
        raise ConversionError(f"{graph} is not whole: {error}", hint=_COPY) from error
    data = [name for name in shards if name.startswith(_SHARD)]
    if _INDEX in shards and not data:
        raise ConversionError(f"{variables} has {_INDEX} but not the weights ({_SHARD}...)", hint=_COPY)
    if data and _INDEX not in shards:
        raise ConversionError(f"{variables} has weights but no {_INDEX}", hint=_COPY)
    expected = int(data[0].rpartition("-of-")[2]) if data and data[0].rpartition("-of-")[2].isdigit() else len(data)
    if len(data) != expected:
        raise ConversionError(f"{variables} has {len(data)} of {expected} files of weights", hint=_COPY)


# --- in the child -------------------------------------------------------------------------------------------------


def _convert(folder: Path, request: Mapping[str, Any]) -> Mapping[str, str]:
    import tensorflow as tf

    from converter.frontends.tensorflow import check_operators, fix_specs, write_model, write_reference

    wanted = from_request(request["wanted"])
    loaded = _load(Path(request["source"]))  # kept: its variables go with it
    key = _choose(loaded.signatures, wanted.signature)
    signature = loaded.signatures[key]
    check_operators(signature.graph.as_graph_def())
    inputs = signature.structured_input_signature[1]
    specs = fix_specs([(name, spec.shape, spec.dtype) for name, spec in inputs.items()], wanted)
    outputs = _outputs(signature, key, wanted)

    def answer(*given: Any) -> Mapping[str, Any]:
        found = signature(**{spec.name: value for spec, value in zip(specs, given, strict=True)})
        return {name: found[name] for name in outputs}

    write_model(folder, answer, specs, signature=key)
    write_reference(folder, answer, specs)
    return {"tensorflow": tf.__version__}


def _load(source: Path) -> Any:
    import tensorflow as tf

    from converter.frontends.tensorflow import unloadable

    try:
        return tf.saved_model.load(str(source))
    except (
        OSError, ValueError, KeyError, AttributeError, RuntimeError, AssertionError, tf.errors.OpError,
    ) as error:  # fmt: skip
        missing = not (source / "variables").is_dir()
        raise unloadable(
            error, f"TensorFlow cannot load it{' (it has no folder of variables)' if missing else ''}", _COPY
        ) from error


def _choose(signatures: Mapping[str, Any], wanted: str | None) -> str:
    keys = sorted(key for key in signatures if key not in _OF_LOADER)
    listed = ", ".join(keys)
    if wanted is not None and wanted not in keys:
        raise ConversionError(
            f"the SavedModel has no signature {wanted!r}", hint=f"it has {listed}" if keys else "export it with one"
        )
    if not keys:
        raise ConversionError(
            "the SavedModel has no signatures: it was saved without saying what to run",
            hint="export it again: model.export(path), or tf.saved_model.save(model, path, signatures=...)",
        )
    if wanted is None and len(keys) > 1:
        raise ConversionError(
            f"the SavedModel has {len(keys)} signatures: {listed}", hint=f"name one: --signature {keys[0]}"
        )
    return wanted or keys[0]


def _outputs(signature: Any, key: str, wanted: Wanted) -> list[str]:
    known = sorted(signature.structured_outputs)
    unknown = [name for name in wanted.outputs if name not in known]
    if unknown:
        raise ConversionError(f"signature {key} has no output {', '.join(unknown)}", hint=f"it has {', '.join(known)}")
    return list(wanted.outputs) or known


if __name__ == "__main__":
    answer_parent("converter.frontends.saved_model", _convert)
