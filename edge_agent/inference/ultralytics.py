"""What Ultralytics' exporter writes beside the models of YOLO: a file in the zip at the end, not TFLite metadata.

Source: ultralytics/ultralytics, engine/exporter.py (`metadata`): `temp_meta.txt`, a Python dictionary as text, of
releases till 2025, `metadata.json` since. What it means for inputs and outputs is left to `guess`.
"""

import ast
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

_FILES = ("metadata.json", "temp_meta.txt")
_MAX_BYTES = 1_000_000
_MAX_CLASSES = 100_000


@dataclass(frozen=True, slots=True)
class ExportNotes:
    """Of one model."""

    task: str  # detect, segment, classify, pose, obb
    names: tuple[str, ...]  # of the classes; "" where an index has none
    keypoints: int = 0  # of a pose, with x, y and score each


def parse_export_notes(files: Mapping[str, bytes]) -> ExportNotes | None:
    """The notes among the files of a model; None where there are none that make sense."""
    for name in _FILES:
        tree = _parse(files.get(name, b""))
        if isinstance(tree, Mapping) and isinstance(tree.get("task"), str) and "names" in tree:
            return ExportNotes(str(tree["task"]), _names(tree["names"]), _keypoints(tree.get("kpt_shape")))
    return None


def _parse(content: bytes) -> object:
    if not content or len(content) > _MAX_BYTES:
        return None
    for read in (json.loads, ast.literal_eval):
        with suppress(ValueError, SyntaxError, RecursionError, MemoryError, TypeError):  # literal_eval raises them all
            return read(content.decode("utf-8").strip())
    return None


def _names(tree: object) -> tuple[str, ...]:
    """From `{0: "person", ...}` (JSON has strings as keys) or a list."""
    pairs = tree.items() if isinstance(tree, Mapping) else enumerate(tree) if isinstance(tree, list | tuple) else ()
    found: dict[int, str] = {}
    for key, name in pairs:
        index = str(key)
        if not index.isdecimal() or not index.isascii() or len(index) > 6:
            return ()
        found[int(index)] = str(name)
    count = max(found, default=-1) + 1
    return tuple(found.get(index, "") for index in range(count)) if count <= _MAX_CLASSES else ()


def _keypoints(shape: object) -> int:
    """Of `[17, 3]`; of two numbers each, without a score, none are read."""
    if not isinstance(shape, list | tuple) or len(shape) != 2 or shape[1] != 3 or not isinstance(shape[0], int):
        return 0
    return max(0, shape[0])
