"""What is different between two models or artifacts, and what a device that has the one would fetch for the other.

Nothing is run. Tensors are told by their names; where a tool has renamed them, by where the operators take them, if
both models have the same operators in the same order.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from converter.columns import aligned
from converter.inspect import labels_of, read_members
from converter.layer_list import short_name
from converter.publish.patches import Base, PatchesUnavailableError, make_patches
from converter.tflite_schema import Graph, read_graph
from converter.tflite_values import Constants
from edge_agent import schema
from edge_agent.errors import counted
from edge_agent.release.archive import Artifact
from edge_agent.release.chunks import cut, digest_of_chunk, pack
from edge_agent.release.manifest import MODEL_FILE

_SHOWN = 20  # lines of a kind in the text; the tree has them all
_WORD = 60  # characters of a value in the text
# What the manifest only repeats.
_DERIVED = ("files",)


@dataclass(frozen=True, slots=True)
class _Side:
    path: Path
    artifact: Artifact | None
    members: Mapping[str, bytes]
    graph: Graph
    constants: Constants


def diff_files(before: Path, after: Path, *, patches: bool = True) -> dict[str, Any]:
    """Everything that is different, as a plain tree. `patches`: find out what they would save, which takes its time.

    Raises:
        ModelError: one of them is no model and no artifact; says what it is instead.
        ArtifactError: a damaged artifact.
        ConversionError: a damaged model.
    """
    a, b = _open(before), _open(after)
    pairs = _pairs(a.graph, b.graph)
    one, other = _manifest(a), _manifest(b)
    return {
        "before": _about(a),
        "after": _about(b),
        "same": dict(a.members) == dict(b.members),
        "manifest": list(_fields(one, other)),
        "labels": _labels(labels_of(a.members, before), labels_of(b.members, after)),
        "operators": _counts(a.graph, b.graph),
        "tensors": _tensors(a.graph, b.graph, pairs),
        "weights": list(_weights(a, b, pairs)),
        "download": _download(a.members, b.members, before.name, patches=patches),
    }


def format_diff(tree: Mapping[str, Any]) -> str:
    """The tree as text."""
    a, b = tree["before"], tree["after"]
    lines = [f"before: {a['path']}, {a['size_bytes']:,} bytes", f"after:  {b['path']}, {b['size_bytes']:,} bytes"]
    if tree["same"]:
        return "\n".join([*lines, "nothing is different"])
    lines += _listed(
        "manifest",
        [f"{field['field']}: {_word(field['before'])} -> {_word(field['after'])}" for field in tree["manifest"]],
    )
    lines += _label_lines(tree["labels"])
    lines += _listed("operators", [f"{name}: {one} -> {other}" for name, (one, other) in tree["operators"].items()])
    lines += _tensor_lines(tree["tensors"])
    lines += _weight_lines(tree["weights"])
    return "\n".join([*lines, *_download_lines(tree["download"])])


def _open(path: Path) -> _Side:
    artifact, members = read_members(path)
    content = members[MODEL_FILE]
    return _Side(path, artifact, members, read_graph(content), Constants(content))


def _about(side: _Side) -> dict[str, Any]:
    about: dict[str, Any] = {"path": str(side.path), "size_bytes": side.path.stat().st_size}
    if side.artifact is not None:
        manifest = side.artifact.manifest
        about |= {"name": manifest.name, "version": manifest.version, "digest": side.artifact.digest}
    return about


# --- manifest and labels ------------------------------------------------------------------------------------------


def _manifest(side: _Side) -> dict[str, Any]:
    tree: dict[str, Any] = schema.dump(side.artifact.manifest) if side.artifact else {}
    return {key: value for key, value in tree.items() if key not in _DERIVED}


def _fields(before: Any, after: Any, path: str = "") -> Iterator[dict[str, Any]]:
    """Leaves that differ, by their path; None where there is none."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in sorted({*before, *after}, key=str):
            yield from _fields(before.get(key), after.get(key), f"{path}.{key}" if path else str(key))
    elif isinstance(before, Mapping) and after is None:
        yield from _fields(before, {}, path)
    elif isinstance(after, Mapping) and before is None:
        yield from _fields({}, after, path)
    elif before != after:
        yield {"field": path, "before": before, "after": after}


def _labels(before: Sequence[str], after: Sequence[str]) -> dict[str, Any]:
    changed = [
        {"index": index, "before": _at(before, index), "after": _at(after, index)}
        for index in range(max(len(before), len(after)))
        if _at(before, index) != _at(after, index)
    ]
    return {"before": len(before), "after": len(after), "changed": changed}


def _at(labels: Sequence[str], index: int) -> str | None:
    return labels[index] if index < len(labels) else None


# --- the graph ----------------------------------------------------------------------------------------------------


def _counts(before: Graph, after: Graph) -> dict[str, list[int]]:
    a, b = (Counter(operator.name for operator in graph.operators) for graph in (before, after))
    return {name: [a[name], b[name]] for name in sorted({*a, *b}) if a[name] != b[name]}


def _pairs(before: Graph, after: Graph) -> dict[int, int]:
    """Tensors of the one → those of the other that are the same thing, by position."""
    theirs = {tensor.name: position for position, tensor in enumerate(after.tensors)}
    pairs = {
        position: theirs[tensor.name] for position, tensor in enumerate(before.tensors) if tensor.name in theirs
    }  # fmt: skip
    if [operator.name for operator in before.operators] == [operator.name for operator in after.operators]:
        taken = set(pairs.values())
        for one, other in zip(before.operators, after.operators, strict=True):
            for mine, found in zip((*one.inputs, *one.outputs), (*other.inputs, *other.outputs), strict=False):
                if min(mine, found) >= 0 and mine not in pairs and found not in taken:
                    pairs[mine] = found
                    taken.add(found)
    return pairs


def _tensors(before: Graph, after: Graph, pairs: Mapping[int, int]) -> dict[str, Any]:
    changed = []
    for mine, found in pairs.items():
        one, other = before.tensors[mine], after.tensors[found]
        for what in ("type", "signature", "scales", "zero_points"):
            if getattr(one, what) != getattr(other, what):
                values = [_plain(getattr(tensor, what)) for tensor in (one, other)]
                changed.append({"name": one.name, "what": what, "before": values[0], "after": values[1]})
    kept = set(pairs.values())
    return {
        "changed": changed,
        "removed": [tensor.name for position, tensor in enumerate(before.tensors) if position not in pairs],
        "added": [tensor.name for position, tensor in enumerate(after.tensors) if position not in kept],
        "renamed": sum(before.tensors[mine].name != after.tensors[found].name for mine, found in pairs.items()),
    }


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _weights(a: _Side, b: _Side, pairs: Mapping[int, int]) -> Iterator[dict[str, Any]]:
    """Constants whose values differ, with how much: the length of the difference by that of the first, real values."""
    layers = {position: operator for operator in a.graph.operators for position in operator.inputs}
    for mine, found in pairs.items():
        tensor = a.graph.tensors[mine]
        if not tensor.constant or (
            a.constants.stored(mine) == b.constants.stored(found)
            and tensor.scales == b.graph.tensors[found].scales
            and tensor.zero_points == b.graph.tensors[found].zero_points
        ):
            continue
        operator = layers.get(mine)
        told: dict[str, Any] = {
            "name": tensor.name,
            "operator": operator.name if operator else None,
            "layer": a.graph.tensors[operator.outputs[0]].name if operator and operator.outputs else None,
            "shape": list(tensor.shape),
        }
        one, other = a.constants.real(mine), b.constants.real(found)
        if one is None or other is None or one.shape != other.shape:
            yield {**told, "relative_change": None, "changed": None}
            continue
        size = float(np.linalg.norm(one))
        distance = float(np.linalg.norm(other - one))
        relative = _rounded(distance / size) if size else None
        yield {**told, "relative_change": relative, "changed": _rounded(float(np.mean(one != other)))}


def _rounded(value: float) -> float | None:
    return float(f"{value:.4g}") if np.isfinite(value) else None


# --- what would travel --------------------------------------------------------------------------------------------


def _download(before: Mapping[str, bytes], after: Mapping[str, bytes], base: str, *, patches: bool) -> dict[str, Any]:
    """What a device that holds `before` fetches for `after`, the release document apart."""
    held = {digest_of_chunk(chunk) for content in before.values() for chunk in cut(content)}
    wanted = {digest_of_chunk(chunk): chunk for content in after.values() for chunk in cut(content)}
    missing = {digest: chunk for digest, chunk in wanted.items() if digest not in held}
    tree: dict[str, Any] = {
        "chunks": len(wanted),
        "missing_chunks": len(missing),
        "bytes": sum(len(pack(chunk)) for chunk in missing.values()),
        "whole_bytes": sum(len(pack(chunk)) for chunk in wanted.values()),
        "patches": [],
        "notes": [],
    }
    if not patches:
        return {**tree, "bytes_with_patches": None}
    try:
        made = make_patches(after, [Base(base, 0, before)])
    except PatchesUnavailableError as error:
        return {**tree, "bytes_with_patches": None, "notes": [f"{error}; {error.hint}"]}
    saved = sum(patch.instead_of_bytes - patch.bytes for patch in made.made)
    told = [{"member": patch.member, "bytes": patch.bytes, "instead_of": patch.instead_of_bytes} for patch in made.made]
    return {**tree, "patches": told, "notes": list(made.skipped), "bytes_with_patches": tree["bytes"] - saved}


# --- as text ------------------------------------------------------------------------------------------------------


def _listed(title: str, lines: Sequence[str]) -> list[str]:
    if not lines:
        return []
    more = [f"  … and {len(lines) - _SHOWN} more: --json lists all"] if len(lines) > _SHOWN else []
    return [f"{title}:", *(f"  {line}" for line in lines[:_SHOWN]), *more]


def _word(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= _WORD else f"{text[: _WORD - 1]}…"


def _label_lines(labels: Mapping[str, Any]) -> list[str]:
    lines = [f"{label['index']}: {_word(label['before'])} -> {_word(label['after'])}" for label in labels["changed"]]
    return _listed(f"labels ({labels['before']} -> {labels['after']})", lines)


def _tensor_lines(tensors: Mapping[str, Any]) -> list[str]:
    changed = [
        f"{short_name(tensor['name'])} {tensor['what']}: {_word(tensor['before'])} -> {_word(tensor['after'])}"
        for tensor in tensors["changed"]
    ]
    lines = _listed("tensors", changed)
    lines += _listed("tensors that are gone", [short_name(name) for name in tensors["removed"]])
    lines += _listed("tensors that are new", [short_name(name) for name in tensors["added"]])
    if tensors["renamed"]:
        lines.append(f"{counted(tensors['renamed'], 'tensor')} with another name, told by their operators")
    return lines


def _weight_lines(weights: Sequence[Mapping[str, Any]]) -> list[str]:
    if not weights:
        return ["weights: the same"]
    ordered = sorted(weights, key=lambda each: -(each["relative_change"] or 0.0))
    rows = [["change", "of values", "shape", "operator", "layer"]]
    rows += [
        [
            "-" if each["relative_change"] is None else f"{each['relative_change']:.2%}",
            "-" if each["changed"] is None else f"{each['changed']:.1%}",
            "x".join(map(str, each["shape"])),
            each["operator"] or "",
            short_name(each["layer"] or each["name"]),
        ]
        for each in ordered
    ]
    table = aligned(rows, right=(0, 1))
    return _listed(f"weights, {counted(len(weights), 'tensor')} changed", table)


def _download_lines(download: Mapping[str, Any]) -> list[str]:
    chunks = f"{download['missing_chunks']} of {counted(download['chunks'], 'chunk')}"
    lines = [
        f"a device that has the first fetches {chunks}: {download['bytes']:,} of {download['whole_bytes']:,} bytes"
    ]
    lines += [
        f"with a patch for {patch['member']}: {patch['bytes']:,} instead of {patch['instead_of']:,} bytes"
        for patch in download["patches"]
    ]
    if download["patches"]:
        lines.append(f"in all {download['bytes_with_patches']:,} bytes")
    return [*lines, *download["notes"]]
