"""Putting the artifact together: name and version, manifest, report, and one durable write.

Same input, same bytes: nothing here asks the clock. `created` is SOURCE_DATE_EPOCH where that is set
(https://reproducible-builds.org/specs/source-date-epoch/), else the zip format's own first day.
"""

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from converter.errors import RecipeError
from converter.evaluation.evaluation import Evaluation
from converter.fidelity import Fidelity
from converter.recipe import DeviceLimits, Recipe
from edge_agent import schema
from edge_agent.disk import open_disk, write_atomic
from edge_agent.release.inputs import InputSpec
from edge_agent.release.manifest import (
    GOLDEN_FILE,
    IDENTIFIER,
    LABELS_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    REPORT_FILE,
    VERSION,
    FileEntry,
    Limits,
    Manifest,
    format_manifest,
)
from edge_agent.release.outputs import OutputSpec, TaskName
from edge_agent.tasks.labels import format_labels

SUFFIX = ".edge"
NO_DATE = "1980-01-01T00:00:00Z"
_SPLIT = re.compile(r"-(?=v?[0-9])")


@dataclass(frozen=True, slots=True)
class Parts:
    """All that goes into an artifact."""

    name: str
    version: str
    task: TaskName
    input: InputSpec
    recipe: Recipe
    model: bytes
    labels: tuple[str, ...]
    provenance: Mapping[str, Any]
    # What is known once the model has been run and judged:
    golden: bytes | None = None
    golden_tolerance: float | None = None
    anomaly_threshold: float | None = None
    fidelity: Fidelity | None = None
    evaluation: Evaluation | None = None
    notes: tuple[str, ...] = ()


def parse_output_name(path: Path) -> tuple[str, str]:
    """Name and version of `NAME-VERSION.edge`; the version begins at the last `-` before a digit (or `v` and a digit).

    Raises:
        RecipeError: the file name does not say both.
    """
    if path.suffix == SUFFIX:
        for split in reversed(list(_SPLIT.finditer(path.stem))):
            name, version = path.stem[: split.start()], path.stem[split.end() :]
            if IDENTIFIER.fullmatch(name) and VERSION.fullmatch(version):
                return name, version
    raise RecipeError(
        f"the output must be called NAME-VERSION{SUFFIX}, found {path.name!r}",
        hint=f"for example digits-1.0.0{SUFFIX}; a name is 1 to 64 of a-z, 0-9, _ and -, a version begins with a digit",
    )


def build_members(parts: Parts) -> dict[str, bytes]:
    """The members of the artifact, manifest included."""
    members = {MODEL_FILE: parts.model}
    if parts.labels:
        members[LABELS_FILE] = format_labels(parts.labels)
    if parts.golden is not None:
        members[GOLDEN_FILE] = parts.golden
    members[REPORT_FILE] = format_report(parts)
    members[MANIFEST_FILE] = format_manifest(build_manifest(parts, members))
    return members


def build_manifest(parts: Parts, members: Mapping[str, bytes]) -> Manifest:
    """The manifest of parts whose other members are there."""
    entries = {name: FileEntry(hashlib.sha256(content).hexdigest(), len(content)) for name, content in members.items()}
    return Manifest(
        name=parts.name,
        version=parts.version,
        task=parts.task,
        input=parts.input,
        output=_output(parts),
        files=entries,
        created=created(),
        runtime=parts.recipe.runtime,
        limits=_limits(parts.recipe.device, parts.golden_tolerance),
        provenance=_provenance(parts),
        signature=parts.recipe.signature,
        state=parts.recipe.state,
        constants=parts.recipe.constants,
    )


def format_report(parts: Parts) -> bytes:
    """`report.json`: how the model came to be and how near it is to its source. No latencies: see `fidelity`."""
    tree = {
        "schema": 1,
        "name": parts.name,
        "version": parts.version,
        "task": parts.task,
        **_provenance(parts),
        "notes": list(parts.notes),
        **({"evaluation": parts.evaluation.summary()} if parts.evaluation else {}),
    }
    whole = json.dumps(tree, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return whole.encode() + b"\n"


def write_artifact(path: Path, content: bytes) -> None:
    """Write the artifact durably, whole or not at all.

    Raises:
        StorageError: it cannot be written there.
    """
    open_disk(path.parent)  # made if it is missing
    write_atomic(path, content)


def created() -> str:
    """RFC 3339, UTC.

    Raises:
        RecipeError: SOURCE_DATE_EPOCH is no number of seconds.
    """
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if epoch is None:
        return NO_DATE
    try:
        return datetime.fromtimestamp(int(epoch), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError) as error:
        raise RecipeError(
            f"SOURCE_DATE_EPOCH must be seconds since 1970, found {epoch!r}",
            hint="unset it, or: export SOURCE_DATE_EPOCH=$(date +%s)",
        ) from error


def _provenance(parts: Parts) -> dict[str, Any]:
    recipe = schema.dump(parts.recipe)
    recipe.pop("labels", None)  # a path of the laptop; the labels themselves are a member
    fidelity = {"fidelity": parts.fidelity.to_json(latency=False)} if parts.fidelity else {}
    return {**parts.provenance, "recipe": recipe, **fidelity}


def _output(parts: Parts) -> OutputSpec:
    if parts.anomaly_threshold is None:
        return parts.recipe.output
    return dataclasses.replace(parts.recipe.output, threshold=parts.anomaly_threshold)


def _limits(device: DeviceLimits, golden_tolerance: float | None) -> Limits:
    stated = {name: value for name, value in dataclasses.asdict(device).items() if value is not None}
    if golden_tolerance is not None:
        stated.setdefault("golden_tolerance", golden_tolerance)
    return Limits(**stated)
