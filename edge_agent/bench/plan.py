"""What is measured: an unpacked release of whatever was given for a model, and a source of what was given as input.

Measuring is left to `measure`.
"""

import hashlib
import math
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edge_agent.config.row_sources import CsvSource
from edge_agent.config.sources import FolderSource, SourceConfig, SyntheticSource, VideoSource, WavSource
from edge_agent.errors import FrameError, InputError
from edge_agent.inference.model import open_release
from edge_agent.inference.opening import open_any
from edge_agent.release.archive import read_artifact
from edge_agent.release.inputs import AudioInput, ImageInput, InputSpec, SignalInput, TensorInput
from edge_agent.release.manifest import (
    LABELS_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    FileEntry,
    Manifest,
    format_manifest,
    parse_manifest,
)
from edge_agent.transform.image import read_image
from edge_agent.transform.picture import decoding

SYNTHETIC = "synthetic"
_VIDEOS = (".mp4", ".m4v", ".mkv", ".avi", ".mov", ".webm", ".ts", ".mjpeg", ".mjpg", ".h264", ".265")
_PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm")
# "; --mean and --std state another", up to the model's tensor in brackets.
_ADVICE = re.compile(r"; --[^;()]*?(?=;| of mono| \(|$)|; --[a-z-]+ changes that")
_FULL_HD_PX = (1920, 1080)


def lay_out_release(model: Path, directory: Path) -> tuple[Manifest, list[str]]:
    """An unpacked release of a `.tflite`, `.edge` or unpacked release; gives its manifest, and what has been guessed.

    Raises:
        ArtifactError, ModelError, InputError: it is none of these.
    """
    if (model / MANIFEST_FILE).is_file():
        for member in model.iterdir():
            shutil.copyfile(member, directory / member.name)
        return parse_manifest((directory / MANIFEST_FILE).read_bytes()), []
    opened, notes = open_any(model)
    with opened:
        manifest, labels = opened.manifest, opened.labels
    members = {MODEL_FILE: _model_bytes(model)}
    if labels:
        members[LABELS_FILE] = "".join(f"{label}\n" for label in labels).encode()
    if notes and isinstance(manifest.input, ImageInput):
        # A single picture is looked at exactly; a stream of them as a release does unless its manifest says otherwise.
        manifest = replace(manifest, input=replace(manifest.input, decode="reduced"))
    manifest = replace(manifest, files={name: _entry(content) for name, content in members.items()})
    for name, content in {MANIFEST_FILE: format_manifest(manifest), **members}.items():
        (directory / name).write_bytes(content)
    return manifest, [_without_advice(note) for note in notes]


def name_columns(release: Path, spec: InputSpec) -> tuple[str, ...]:
    """The columns of a row that the model takes: the manifest's, else as many as its inputs have values.

    Raises:
        ArtifactError, ModelError: the release cannot be opened.
    """
    if not isinstance(spec, SignalInput | TensorInput) or spec.channels:
        return getattr(spec, "channels", ())
    with open_release(release) as model:
        values = sum(math.prod(tensor.shape) for tensor in model.inputs)
    rows = spec.window if isinstance(spec, SignalInput) else 1
    return tuple(f"column_{number}" for number in range(max(1, values // rows)))


def source_of(inputs: Sequence[str], spec: InputSpec, folder: Path, columns: tuple[str, ...] = ()) -> SourceConfig:
    """A source that goes on as long as it is asked; several pictures are laid out in `folder` first.

    Of rows that are made up, `columns` are the names.

    Raises:
        InputError: there is no such file, or one of a kind that is not known.
    """
    if not inputs or list(inputs) == [SYNTHETIC]:
        return _synthetic(spec, columns)
    paths = [Path(name) for name in inputs]
    missing = [str(path) for path in paths if not path.exists()]
    if missing:
        raise InputError(f"there is no {', '.join(missing)}", hint="check the path, or give --input synthetic")
    kinds = {_kind(path) for path in paths}
    if kinds == {"picture"}:
        _check_pictures(paths)
        for number, path in enumerate(paths):
            (folder / f"{number:04}{path.suffix.lower()}").symlink_to(path.absolute())
        return FolderSource("folder", folder, repeat=True)
    if len(paths) > 1:
        raise InputError(
            f"{len(paths)} inputs of which not all are pictures", hint="give one folder, video, recording or CSV file"
        )
    path = paths[0]
    match kinds.pop():
        case "folder":
            sounds = isinstance(spec, AudioInput)
            return WavSource("wav", path, repeat=True) if sounds else FolderSource("folder", path, repeat=True)
        case "video":
            return VideoSource("video", path, repeat=True)
        case "csv":
            return CsvSource("csv", path, repeat=True)
        case "wav":
            return WavSource("wav", path, repeat=True)
    raise InputError(
        f"{path} is of no kind that is known by its name", hint="give pictures, a folder, a video, CSV or WAV"
    )


def _synthetic(spec: InputSpec, columns: tuple[str, ...]) -> SourceConfig:
    if isinstance(spec, ImageInput):
        width, height = _FULL_HD_PX
        return SyntheticSource("synthetic", "pictures", width_px=width, height_px=height, picture="jpeg")
    if isinstance(spec, AudioInput):
        return SyntheticSource("synthetic", "audio", sample_rate_hz=spec.sample_rate_hz)
    return SyntheticSource("synthetic", "rows", columns=columns)


def _without_advice(note: str) -> str:
    """Options that only `infer` has are no advice here."""
    return _ADVICE.sub("", note)


def _check_pictures(paths: Sequence[Path]) -> None:
    """Look whether one of them can be decoded; the others may fail and are counted.

    Raises:
        InputError: none of them can be decoded.
    """
    problems: list[FrameError] = []
    for path in paths:
        try:
            picture = read_image(path)
            with decoding(str(path)):
                picture.decoded("RGB")
        except FrameError as error:
            problems.append(error)
        else:
            return
    raise InputError("\n".join(map(str, problems)), hint=problems[0].hint)


def _kind(path: Path) -> str:
    if path.is_dir():
        return "folder"
    suffix = path.suffix.lower()
    for kind, suffixes in (("picture", _PICTURES), ("video", _VIDEOS), ("csv", (".csv", ".tsv")), ("wav", (".wav",))):
        if suffix in suffixes:
            return kind
    return "unknown"


def _model_bytes(model: Path) -> bytes:
    content = model.read_bytes()
    return read_artifact(model).members[MODEL_FILE] if content[:2] == b"PK" else content


def _entry(content: bytes) -> FileEntry:
    return FileEntry(hashlib.sha256(content).hexdigest(), len(content))
