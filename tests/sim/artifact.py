"""Whole, consistent artifacts for tests, made with the project's own writer."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_agent.release.archive import format_archive
from edge_agent.release.inputs import ImageInput, InputSpec
from edge_agent.release.manifest import (
    GOLDEN_FILE,
    LABELS_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    FileEntry,
    Manifest,
    format_manifest,
)
from edge_agent.release.outputs import OutputSpec, TaskName


def make_members(
    model: bytes,
    *,
    task: TaskName = "classification",
    source: InputSpec | None = None,
    output: OutputSpec | None = None,
    labels: bytes | None = None,
    golden: bytes | None = None,
    **more: Any,
) -> dict[str, bytes]:
    """The members of an artifact with this model; `more` are fields of the manifest."""
    optional = {LABELS_FILE: labels, GOLDEN_FILE: golden}
    members = {MODEL_FILE: model} | {name: content for name, content in optional.items() if content is not None}
    manifest = Manifest(
        **{
            "name": "model",
            "version": "1.0.0",
            "task": task,
            "input": source or ImageInput(),
            "output": output or OutputSpec(),
            "files": {name: entry(content) for name, content in members.items()},
            "created": "2026-01-01T00:00:00Z",
            **more,
        }
    )
    return {MANIFEST_FILE: format_manifest(manifest), **members}


def entry(content: bytes) -> FileEntry:
    return FileEntry(hashlib.sha256(content).hexdigest(), len(content))


def unpack(members: Mapping[str, bytes], directory: Path) -> Path:
    """Write members as a device keeps them."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in members.items():
        (directory / name).write_bytes(content)
    return directory


def pack(members: Mapping[str, bytes], path: Path) -> Path:
    """Write members as an `.edge` file."""
    path.write_bytes(format_archive(dict(members)))
    return path
