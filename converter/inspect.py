"""What is in a `.tflite` or an `.edge`: as a plain tree for scripts, as text for people. Nothing is run."""

import json
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from converter.columns import aligned
from converter.errors import RecipeError
from converter.layer_list import list_layers, short_name
from converter.package import NO_DATE
from converter.report.graph import draw_graph, html_file, svg_file
from converter.tflite_schema import read_graph
from edge_agent import schema
from edge_agent.disk import write_atomic
from edge_agent.errors import Reason, RejectionError
from edge_agent.inference.model_file import FileTensor, ModelFile, inspect_model
from edge_agent.release.archive import Artifact, read_artifact
from edge_agent.release.chunks import CHUNK_BYTES, build_index
from edge_agent.release.manifest import LABELS_FILE, MANIFEST_FILE, MODEL_FILE, REPORT_FILE
from edge_agent.tasks.labels import parse_labels

_ZIP = b"PK\x03\x04"
_SHOWN_LABELS = 10


def inspect_file(path: Path) -> dict[str, Any]:
    """Everything that can be told of a model or an artifact, as a plain tree; `kind` says which it is.

    Raises:
        ModelError: it is neither; says what it is instead.
        ArtifactError: a damaged artifact.
    """
    if is_artifact(path):
        return _of_artifact(path)
    return {"kind": "model", "path": str(path), **_of_model(inspect_model(path))}


def read_members(path: Path) -> tuple[Artifact | None, Mapping[str, bytes]]:
    """The members of an artifact; of a bare model (None), the model as the only one.

    Raises:
        ModelError, ArtifactError: as `inspect_file`.
    """
    if is_artifact(path):
        artifact = read_artifact(path)
        return artifact, artifact.members
    inspect_model(path)  # says what it is instead of a model
    return None, {MODEL_FILE: path.read_bytes()}


def draw_model(path: Path, target: Path, *, force: bool) -> None:
    """A picture of the model's graph, written to `target`, an `.svg` or an `.html`.

    Raises:
        RecipeError: another kind of file, or one that is there already.
        ModelError, ArtifactError, ConversionError: as `inspect_file`.
        StorageError: it cannot be written there.
    """
    if target.suffix not in (".svg", ".html"):
        raise RecipeError(f"{target} must end in .svg or .html", hint="a graph is drawn as either")
    if target.exists() and not force:
        raise RecipeError(f"{target} exists", hint="pass --force to replace it")
    picture = draw_graph(read_graph(read_members(path)[1][MODEL_FILE]), path.name)
    write_atomic(target, svg_file(picture) if target.suffix == ".svg" else html_file(picture, path.name))


def format_inspection(tree: Mapping[str, Any]) -> str:
    """The tree as text."""
    lines = [f"{tree['path']}: {tree['kind']}, {tree['size_bytes']:,} bytes"]
    if tree["kind"] == "artifact":
        lines += _artifact_lines(tree)
    model = tree["model"] if tree["kind"] == "artifact" else tree
    lines += _model_lines(model)
    labels = tree["labels"]
    if labels:
        more = f", … ({len(labels)})" if len(labels) > _SHOWN_LABELS else f" ({len(labels)})"
        lines.append(f"labels: {', '.join(labels[:_SHOWN_LABELS])}{more}")
    return "\n".join(lines)


def is_artifact(path: Path) -> bool:
    """Whether it is a `.edge`, whole or not, told by its content."""
    try:
        with open(path, "rb") as file:
            if file.read(len(_ZIP)) != _ZIP:
                return False
        with zipfile.ZipFile(path) as archive:
            return MANIFEST_FILE in archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError):
        return path.suffix == ".edge" and path.is_file()


def _of_artifact(path: Path) -> dict[str, Any]:
    artifact = read_artifact(path)
    index = build_index(artifact.members)
    with tempfile.TemporaryDirectory(prefix="edgectl-") as temporary:
        model_path = Path(temporary) / MODEL_FILE
        model_path.write_bytes(artifact.members[MODEL_FILE])
        model = _of_model(inspect_model(model_path))
    labels = _labels_file(artifact.members, path) or model["labels"]
    return {
        "kind": "artifact",
        "path": str(path),
        "size_bytes": artifact.size_bytes,
        "digest": artifact.digest,
        "manifest": schema.dump(artifact.manifest),
        "files": {name: len(content) for name, content in artifact.members.items()},
        "chunks": {name: len(digests) for name, (_, digests) in index.members.items()},
        "labels": labels,
        "fidelity": _fidelity(artifact.members),
        "model": model,
    }


def labels_of(members: Mapping[str, bytes], path: Path) -> list[str]:
    """Those of an artifact, or of a bare model.

    Raises:
        RejectionError: they are not text.
    """
    with tempfile.TemporaryDirectory(prefix="edgectl-") as temporary:
        model_path = Path(temporary) / MODEL_FILE
        model_path.write_bytes(members[MODEL_FILE])
        return _labels_file(members, path) or list(inspect_model(model_path).labels)


def _labels_file(members: Mapping[str, bytes], path: Path) -> list[str]:
    try:
        return list(parse_labels(members.get(LABELS_FILE, b"")))
    except ValueError as error:
        raise RejectionError(f"{path}: {LABELS_FILE}: {error}", reason=Reason.BAD_MANIFEST) from error


def _fidelity(members: Mapping[str, bytes]) -> Any:
    try:
        report = json.loads(members.get(REPORT_FILE, b"{}"))
    except ValueError:
        return None
    return report.get("fidelity") if isinstance(report, dict) else None


def _of_model(model: ModelFile) -> dict[str, Any]:
    weights = [tensor for tensor in model.tensors if tensor.constant_bytes]
    layers = list_layers(read_graph(model.path.read_bytes()))
    return {
        "size_bytes": model.size_bytes,
        "description": model.description,
        "inputs": [_of_tensor(tensor) for tensor in model.inputs],
        "outputs": [_of_tensor(tensor) for tensor in model.outputs],
        "operators": {operator.name: operator.count for operator in model.operators},
        "unsupported_operators": list(model.unsupported_operators),
        "signatures": [asdict(signature) for signature in model.signatures],
        "tensors": len(model.tensors),
        "weights": {
            "tensors": len(weights),
            "size_bytes": sum(tensor.constant_bytes for tensor in weights),
            "by_dtype": _bytes_by_dtype(weights),
            "per_channel": sum(tensor.per_channel for tensor in weights),
        },
        "macs": sum(layer.macs or 0 for layer in layers),
        "layers": [asdict(layer) for layer in layers],
        "metadata": asdict(model.metadata) if model.metadata else None,
        "associated_files": {name: len(content) for name, content in model.associated_files.items()},
        "labels": list(model.labels),
    }


def _of_tensor(tensor: FileTensor) -> dict[str, Any]:
    tree: dict[str, Any] = {"name": tensor.name, "dtype": tensor.dtype, "shape": list(tensor.dynamic_shape)}
    if tensor.scales:
        tree["quantization"] = {"scale": tensor.scales[0], "zero_point": (tensor.zero_points or (0,))[0]}
    return tree


def _bytes_by_dtype(tensors: Sequence[FileTensor]) -> dict[str, int]:
    total: dict[str, int] = {}
    for tensor in tensors:
        total[tensor.dtype] = total.get(tensor.dtype, 0) + tensor.constant_bytes
    return dict(sorted(total.items()))


def _artifact_lines(tree: Mapping[str, Any]) -> list[str]:
    manifest = tree["manifest"]
    date = manifest["created"] if manifest["created"] != NO_DATE else "not recorded (SOURCE_DATE_EPOCH was not set)"
    lines = [
        f"release: {manifest['name']} {manifest['version']}, task {manifest['task']}, created {date}",
        f"digest: {tree['digest']}",
        "input: " + _pairs(manifest["input"]),
        "output: " + _pairs(manifest["output"]),
        "limits: " + _pairs(manifest["limits"]),
    ]
    total = sum(tree["chunks"].values())
    lines.append(f"files ({total} chunks of at most {CHUNK_BYTES:,} bytes):")
    lines += [f"  {name}  {size:,} bytes" for name, size in tree["files"].items()]
    fidelity = tree["fidelity"]
    if isinstance(fidelity, Mapping):
        shown = ("scheme", "samples", "representative", "top1_agreement", "max_disagreement", "golden_vectors")
        lines.append("fidelity: " + _pairs({name: fidelity[name] for name in shown if name in fidelity}))
    return lines


def _model_lines(model: Mapping[str, Any]) -> list[str]:
    lines = []
    for end in ("inputs", "outputs"):
        lines += [f"{end[:-1]}: {_tensor_line(tensor)}" for tensor in model[end]]
    lines.append("operators: " + ", ".join(f"{name} x{count}" for name, count in model["operators"].items()))
    if model["unsupported_operators"]:
        lines.append("no interpreter here has: " + ", ".join(model["unsupported_operators"]))
    weights = model["weights"]
    kinds = ", ".join(f"{dtype} {size:,} bytes" for dtype, size in weights["by_dtype"].items())
    channels = f", {weights['per_channel']} quantized per channel" if weights["per_channel"] else ""
    lines.append(f"weights: {weights['tensors']} tensors ({kinds}){channels}")
    lines += _layer_lines(model["layers"])
    lines.append(f"multiply-accumulates: {model['macs']:,}")
    for signature in model["signatures"]:
        lines.append(
            f"signature {signature['key']}: {', '.join(signature['inputs'])} -> {', '.join(signature['outputs'])}"
        )
    if model["metadata"]:
        said = {name: model["metadata"][name] for name in ("name", "version", "author", "license", "description")}
        lines.append("metadata: " + _pairs({name: value for name, value in said.items() if value}))
        for tensor in model["metadata"]["inputs"]:
            if tensor["mean"]:
                lines.append(f"normalization: mean {tensor['mean']}, std {tensor['std']}")
    return lines


def _layer_lines(layers: Sequence[Mapping[str, Any]]) -> list[str]:
    rows = [["", "operator", "output", "precision", "per", "MACs", "bytes", "layer"]]
    rows += [
        [
            str(number),
            layer["operator"],
            "x".join(map(str, layer["shape"])),
            layer["precision"],
            layer["granularity"] or "",
            "" if layer["macs"] is None else f"{layer['macs']:,}",
            f"{layer['size_bytes']:,}" if layer["size_bytes"] else "",
            short_name(layer["name"]),
        ]
        for number, layer in enumerate(layers, 1)
    ]
    return ["layers:", *(f"  {line}" for line in aligned(rows, right=(0, 5, 6)))]


def _tensor_line(tensor: Mapping[str, Any]) -> str:
    text = f"{tensor['name']} {tensor['dtype']}[{','.join(map(str, tensor['shape']))}]"
    if "quantization" in tensor:
        text += f" (value - {tensor['quantization']['zero_point']}) * {tensor['quantization']['scale']:.6g}"
    return text


def _pairs(tree: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name} {json.dumps(value) if not isinstance(value, str) else value}" for name, value in tree.items()
    )
