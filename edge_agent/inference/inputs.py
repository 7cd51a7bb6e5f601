"""What `edge-agent infer` is given, prepared for the model: pictures, videos, sound, rows and plain values from files.

Folders are opened to the files in them. Every file is told by its content or name and by what the model takes.
Running the model is left to `oneshot`, the formats of plain values to `values`.
"""

import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from edge_agent.clock import SystemClock
from edge_agent.config.sources import VideoSource
from edge_agent.errors import FrameError, InputError
from edge_agent.inference.frame import Frame, Sound, Unusable, Wanted
from edge_agent.inference.model import Model
from edge_agent.inference.sources.source import new_source
from edge_agent.inference.values import (
    ARRAY_SUFFIXES,
    are_stored,
    by_name,
    parse_line,
    read_npy,
    read_rows,
    read_table,
    read_vectors,
    split_vectors,
)
from edge_agent.release.inputs import AudioInput, ImageInput, SignalInput, TensorInput
from edge_agent.transform.image import read_image
from edge_agent.transform.orientation import lies_down, turned
from edge_agent.transform.picture import WHOLE, EncodedPicture, Picture, Rotation, View, decoding
from edge_agent.transform.placement import Box
from edge_agent.transform.prepared import Prepared
from edge_agent.transform.tensor import Array

STDIN = Path("-")
_TURNS: tuple[Rotation, ...] = (0, 90, 180, 270)
_HEAD_BYTES = 16
_VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".m2ts", ".mpg", ".mpeg", ".mjpeg", ".h264")


@dataclass(frozen=True, slots=True)
class Reading:
    """How the files are read."""

    every: int = 1  # n-th picture of a video
    rotate_deg: Rotation = 0  # clockwise, before the region is cut out
    roi: tuple[float, float, float, float] | None = None  # left, top, right, bottom as shares 0 to 1 of the picture

    def __post_init__(self) -> None:
        if self.roi is not None:
            left, top, right, bottom = self.roi
            if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
                raise InputError(
                    f"a region of {', '.join(f'{side:g}' for side in self.roi)}: expected shares left < right and "
                    "top < bottom, 0 to 1"
                )


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """One input, ready for the model."""

    name: str
    prepared: Prepared
    captured: float  # perf_counter when it had been read and was about to be prepared
    picture: Picture | None = None
    view: View = WHOLE


Say = Callable[[str], None]


@dataclass(slots=True)
class _LeftOut:
    """The frames or rows of one file that are of no use: the first is said at once, their number at the end."""

    what: str
    say: Say
    count: int = 0
    first: str = ""

    def add(self, problem: str) -> None:
        if not self.count:
            self.first = problem
            self.say(f"left out: {problem}")
        self.count += 1

    def check(self, name: str) -> None:
        """Raises:
        InputError: something has been left out.
        """
        if self.count:
            raise InputError(f"{name}: {self.count} {self.what} left out; the first: {self.first}")


def list_inputs(paths: Iterable[Path]) -> Iterator[Path | InputError]:
    """The paths themselves, of folders the files in them in the order of their names; an error for an empty one."""
    for path in paths:
        if path == STDIN or not path.is_dir():
            yield path
            continue
        try:
            files = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
        except OSError as error:
            yield InputError(f"{path}: {error.strerror or error}", hint="check the path")
            continue
        if not files:
            yield InputError(f"{path} holds no files", hint="give a folder with files, or a file")
        yield from files


def read_shots(model: Model, path: Path, reading: Reading, say: Say) -> Iterator[Shot]:
    """Every input of one file, in order; `say` is told what has been taken for granted.

    Raises:
        InputError, FrameError, SourceError: it is not what the model takes.
    """
    spec = model.manifest.input
    if path == STDIN:
        return _from_lines(model, say)
    if path.suffix == ".npz" or (path.suffix == ".npy" and not isinstance(spec, SignalInput)):
        return _vectors(model, path, say)
    match spec:
        case ImageInput():
            return _video(model, path, reading, say) if _is_video(path) else _picture(model, path, reading)
        case AudioInput():
            return _features(model, path, say) if path.suffix == ".csv" else _sound(model, path, say)
        case SignalInput():
            left_out = _LeftOut("rows", say)
            return _windows(model, _signal_rows(path, spec, left_out), str(path), left_out)
        case TensorInput():
            return _vectors(model, path, say)


# --- pictures -----------------------------------------------------------------------------------------------------


def _picture(model: Model, path: Path, reading: Reading) -> Iterator[Shot]:
    picture = read_image(path)
    view = _view(picture, reading)
    captured = time.perf_counter()
    try:
        prepared = model.prepare_image(picture, view)
    except FrameError as error:  # of several, which
        if str(error).startswith(str(path)):
            raise
        raise FrameError(f"{path}: {error}", hint=error.hint) from error
    yield Shot(str(path), prepared, captured, picture, view)


def _video(model: Model, path: Path, reading: Reading, say: Say) -> Iterator[Shot]:
    config, left_out = VideoSource("video", path, every_n=reading.every), _LeftOut("frames", say)
    with new_source(config, SystemClock()) as source:
        while (frame := source.take(Wanted())) is not None:
            if isinstance(frame, Unusable):
                left_out.add(frame.detail)
            elif isinstance(frame, Frame):
                view = _view(frame.picture, reading, frame.view)
                captured = time.perf_counter()
                yield Shot(
                    f"{path}#{frame.name}", model.prepare_image(frame.picture, view), captured, frame.picture, view
                )
    left_out.check(str(path))


def _is_video(path: Path) -> bool:
    """By its first bytes, else by its name."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return False
    return (
        head[4:8] == b"ftyp"  # ISO/IEC 14496-12 §4.3: MP4, MOV
        or head.startswith((b"\x1aE\xdf\xa3", b"\x00\x00\x01\xba"))  # Matroska and WebM; MPEG program stream
        or (head.startswith(b"RIFF") and head[8:12] == b"AVI ")
        or path.suffix.lower() in _VIDEO_SUFFIXES
    )


def _view(picture: Picture, reading: Reading, own: View = WHOLE) -> View:
    """What is asked for of the picture; `own` is how its source says that it lies."""
    rotate_deg = _TURNS[(own.rotate_deg + reading.rotate_deg) // 90 % 4]
    if reading.roi is None:
        return replace(own, rotate_deg=rotate_deg)
    orientation = 1
    if isinstance(picture, EncodedPicture):
        with decoding(picture.name):
            orientation = picture.orientation
    size_px = picture.size if isinstance(picture, Image.Image) else picture.size_px
    width, height = size_px[::-1] if lies_down(turned(orientation, rotate_deg)) else size_px
    left, top, right, bottom = reading.roi
    return View(rotate_deg, Box(left * width, top * height, right * width, bottom * height))


# --- sound --------------------------------------------------------------------------------------------------------


def _sound(model: Model, path: Path, say: Say) -> Iterator[Shot]:
    from edge_agent.inference.sound import SoundFeed
    from edge_agent.transform.wav import read_wav

    samples, rate_hz = read_wav(path)
    feed = SoundFeed(model, say)
    windows = feed.push(Sound(str(path), 0.0, samples, rate_hz, ends=True))
    captured = time.perf_counter()
    for number, window in enumerate(windows):
        name = str(path) if len(windows) == 1 else f"{path}#{number}"
        yield Shot(name, model.prepare_sound(window.samples), captured)
        captured = time.perf_counter()


def _features(model: Model, path: Path, say: Say) -> Iterator[Shot]:
    """Features that somebody has worked out already, instead of sound."""
    values, tensor = read_table(path), model.inputs[0]
    vectors = split_vectors(values, model.inputs, str(path))
    if are_stored(values, tensor):
        say(f"{path}: values beyond what {tensor.label} can hold as real ones are taken as its stored values")
        vectors = [[array.astype(tensor.dtype) for array in vector] for vector in vectors]
    return _prepared(model, vectors, str(path))


# --- rows and plain values ----------------------------------------------------------------------------------------


def _signal_rows(path: Path, spec: SignalInput, left_out: _LeftOut) -> Iterator[Iterable[float]]:
    if path.suffix not in ARRAY_SUFFIXES:
        yield from read_rows(path, spec.channels, left_out.add)
        return
    values = read_npy(path)
    if values.ndim != 2 or values.dtype.kind not in "uif":
        shape = "x".join(map(str, values.shape))
        raise InputError(f"{path} holds {values.dtype} of {shape}; expected rows of numbers, [rows, channels]")
    for number, row in enumerate(values.tolist()):
        if all(map(math.isfinite, row)):
            yield row
        else:
            left_out.add(f"{path} row {number}: expected numbers that are finite")


def _windows(model: Model, rows: Iterable[Iterable[float]], name: str, left_out: _LeftOut) -> Iterator[Shot]:
    spec = model.manifest.input
    assert isinstance(spec, SignalInput)
    number = 0
    windower = model.windower()
    for row in rows:
        window = windower.push(tuple(row))
        if window is not None:
            captured = time.perf_counter()
            yield Shot(f"{name}#{number}", model.prepare_rows(window), captured)
            number += 1
    left_out.check(name)
    if number == 0:
        raise InputError(
            f"{name} holds fewer rows than the {spec.window} of one window", hint="give a longer recording"
        )


def _vectors(model: Model, path: Path, say: Say) -> Iterator[Shot]:
    if path.suffix in ARRAY_SUFFIXES:
        yield from _prepared(model, read_vectors(path, model.inputs), str(path))
        return
    left_out = _LeftOut("rows", say)
    rows = list(read_rows(path, skip=left_out.add))
    needed = sum(math.prod(tensor.shape) for tensor in model.inputs)
    if not rows or len(rows[0]) != needed:  # one vector over several lines has no line to spare
        left_out.check(str(path))
    yield from _prepared(model, split_vectors(np.array(rows, np.float64), model.inputs, str(path)), str(path))
    left_out.check(str(path))


def _prepared(model: Model, vectors: list[list[Array]], name: str) -> Iterator[Shot]:
    captured = time.perf_counter()
    for number, vector in enumerate(vectors):
        title = name if len(vectors) == 1 else f"{name}#{number}"
        yield Shot(title, _fed(model, vector), captured)
        captured = time.perf_counter()


def _from_lines(model: Model, say: Say) -> Iterator[Shot]:
    """JSON lines of standard input: a row of a window each, or the values of the inputs."""
    spec = model.manifest.input
    if isinstance(spec, ImageInput):
        raise InputError("this model takes pictures, which cannot come as lines", hint="give their files")
    left_out = _LeftOut("lines", say)
    lines = ((f"stdin:{number}", line) for number, line in enumerate(sys.stdin, start=1) if line.strip())
    columns = spec.channels if isinstance(spec, SignalInput | TensorInput) else ()
    if isinstance(spec, SignalInput):
        yield from _windows(model, _line_rows(lines, columns, left_out), "stdin", left_out)
        return
    for name, line in lines:
        captured = time.perf_counter()
        try:
            found = parse_line(line, name, columns)
            vector = by_name(found, model.inputs, name) if isinstance(found, dict) else [found.reshape(-1)]
            prepared = _fed(model, vector)
        except InputError as error:
            left_out.add(str(error))
        except FrameError as error:  # which does not know of lines
            left_out.add(f"{name}: {error}")
        else:
            yield Shot(name, prepared, captured)
    left_out.check("stdin")


def _line_rows(lines: Iterable[tuple[str, str]], columns: tuple[str, ...], left_out: _LeftOut) -> Iterator[list[float]]:
    for name, line in lines:
        try:
            row = _row(parse_line(line, name, columns), name)
        except InputError as error:
            left_out.add(str(error))
        else:
            yield row


def _fed(model: Model, vector: list[Array]) -> Prepared:
    """An array for each input, or one row that is dealt out to several."""
    dealt = len(vector) == 1 < len(model.inputs)
    return model.prepare_row(vector[0].tolist()) if dealt else model.prepare_tensors(vector)


def _row(found: Array | dict[str, Array], name: str) -> list[float]:
    """One row; an object's values in the order in which they stand."""
    values = list(found.values()) if isinstance(found, dict) else list(found.reshape(-1))
    if any(value.size != 1 for value in values):
        raise InputError(f"{name}: expected a row of numbers, found lists within it")
    return [float(value) for value in values]
