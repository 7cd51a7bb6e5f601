"""What `edge-agent infer` is given, prepared for the model: pictures, videos and sound from files.

Folders are opened to the files in them. Every file is told by its content or name and by what the model takes.
Running the model is left to `oneshot`, rows and plain values to `row_inputs`.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from PIL import Image

from edge_agent.clock import SystemClock
from edge_agent.config.sources import VideoSource
from edge_agent.errors import FrameError, InputError
from edge_agent.inference.frame import Frame, Sound, Unusable, Wanted
from edge_agent.inference.model import Model
from edge_agent.inference.row_inputs import features, from_lines, vectors, windows
from edge_agent.inference.shots import LeftOut, Reading, Say, Shot
from edge_agent.inference.sources.source import new_source
from edge_agent.inference.values import ARRAY_SUFFIXES
from edge_agent.release.inputs import AudioInput, ImageInput, InputSpec, SignalInput, TensorInput
from edge_agent.transform.image import read_image
from edge_agent.transform.orientation import lies_down, turned
from edge_agent.transform.picture import WHOLE, EncodedPicture, Picture, Rotation, View, decoding
from edge_agent.transform.placement import Box

STDIN = Path("-")
_TURNS: tuple[Rotation, ...] = (0, 90, 180, 270)
_HEAD_BYTES = 16
_VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".m2ts", ".mpg", ".mpeg", ".mjpeg", ".h264")


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
    _check_columns(spec, path, reading)
    if path == STDIN:
        return from_lines(model, reading, say)
    if path.suffix == ".npz" or (path.suffix == ".npy" and not isinstance(spec, SignalInput)):
        return vectors(model, path, reading, say)
    match spec:
        case ImageInput():
            return _video(model, path, reading, say) if _is_video(path) else _picture(model, path, reading)
        case AudioInput():
            return features(model, path, reading, say) if path.suffix == ".csv" else _sound(model, path, say)
        case SignalInput():
            return windows(model, path, reading, say)
        case TensorInput():
            return vectors(model, path, reading, say)


def _check_columns(spec: InputSpec, path: Path, reading: Reading) -> None:
    """Raises:
    InputError: columns are named of what has none.
    """
    named = [("--columns", bool(reading.columns)), ("--time-column", reading.time_column is not None)]
    takes_csv = isinstance(spec, SignalInput | TensorInput) or path.suffix == ".csv"
    if path == STDIN:
        named = named[1:]  # an object of JSON has names, but what comes as lines no times
    elif takes_csv and not isinstance(spec, ImageInput) and path.suffix not in ARRAY_SUFFIXES:
        return
    said = [option for option, is_said in named if is_said]
    if said:
        raise InputError(
            f"{' and '.join(said)}: expected a CSV file, found {'standard input' if path == STDIN else path}",
            hint="leave it out, or give rows as CSV to a model that takes them",
        )


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
    config = VideoSource("video", path, every_n=reading.every)
    left_out = LeftOut("frame", say, hint="the video may be damaged: copy or export it again")
    with new_source(config, SystemClock()) as source:
        while (frame := source.take(Wanted())) is not None:
            if isinstance(frame, Unusable):
                left_out.add(frame.detail)
            elif isinstance(frame, Frame):
                name = f"{path}#{frame.name}"
                try:
                    view = _view(frame.picture, reading, frame.view)
                    captured = time.perf_counter()
                    prepared = model.prepare_image(frame.picture, view)
                except FrameError as error:
                    left_out.add(f"{name}: {error}")
                else:
                    yield Shot(name, prepared, captured, frame.picture, view)
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

    samples, rate_hz = read_wav(path, say)
    feed = SoundFeed(model, say)
    windows = feed.push(Sound(str(path), 0.0, samples, rate_hz, ends=True))
    captured = time.perf_counter()
    for number, window in enumerate(windows):
        name = str(path) if len(windows) == 1 else f"{path}#{number}"
        yield Shot(name, model.prepare_sound(window.samples), captured)
        captured = time.perf_counter()
