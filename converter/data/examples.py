"""Examples: something to answer to, and beside it what is true of it. Reading them is left to the other modules.

What becomes of the content is left to the model: it goes through the device's own transforms.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from converter.data.files import listed
from converter.errors import CalibrationError
from converter.metrics.objects import TrueObject
from edge_agent.inference.model import Model
from edge_agent.release.inputs import AudioInput, ImageInput, InputSpec, SignalInput
from edge_agent.release.outputs import TaskName
from edge_agent.transform.audio import AudioTransform
from edge_agent.transform.image import ImageTransform, read_image
from edge_agent.transform.prepared import Prepared
from edge_agent.transform.signal import SignalTransform
from edge_agent.transform.tensor import Array, TensorSpec, quantize

Floats = NDArray[np.float64]

# --- what there is to answer to ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PictureFile:
    path: Path

    def content(self) -> bytes:
        return self.path.read_bytes()


@dataclass(frozen=True, slots=True, eq=False)
class Pixels:
    """A picture as an array, uint8 [height, width] or [height, width, 3]."""

    values: NDArray[np.uint8]

    def content(self) -> bytes:
        return self.values.tobytes()


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """A window of a sensor, [window, channels]."""

    values: Floats

    def content(self) -> bytes:
        return self.values.tobytes()


@dataclass(frozen=True, slots=True, eq=False)
class Sound:
    """A window of mono sound, -1..1, at the model's sample rate."""

    samples: NDArray[np.float32]

    def content(self) -> bytes:
        return self.samples.tobytes()


@dataclass(frozen=True, slots=True, eq=False)
class Tensors:
    """One array for each input, real values as the float model takes them, kept in the dtype that they came in."""

    stored: tuple[NDArray[Any], ...]

    @property
    def values(self) -> tuple[Floats, ...]:
        return tuple(np.asarray(each, np.float64) for each in self.stored)

    def content(self) -> bytes:
        return b"".join(value.tobytes() for value in self.values)


Content = PictureFile | Pixels | Rows | Sound | Tensors

# --- what is true of it -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ClassTruth:
    """The class, by its label or its index."""

    label: str | int


@dataclass(frozen=True, slots=True, eq=False)
class ObjectsTruth:
    """All objects in the picture; `TrueObject.category` is a label."""

    objects: tuple[TrueObject, ...]


@dataclass(frozen=True, slots=True)
class MapTruth:
    """The class of each pixel: a picture whose bytes are classes, 255 being none; palette and gray alike."""

    path: Path


@dataclass(frozen=True, slots=True, eq=False)
class MapValues:
    """The class of each pixel, [height, width]; 255 is none."""

    values: NDArray[np.integer]


@dataclass(frozen=True, slots=True)
class ValuesTruth:
    """What was measured, in the order and unit of the model's answer."""

    values: tuple[float, ...]


Truth = ClassTruth | ObjectsTruth | MapTruth | MapValues | ValuesTruth


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    name: str
    content: Content
    truth: Truth | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """What is wanted of the data at `path`."""

    path: Path
    task: TaskName
    spec: InputSpec
    skip_unreadable: bool = False
    labeled: bool = True  # False: nobody asks what is true


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """Examples in a fixed order, and what was left out on the way."""

    items: tuple[Example, ...]
    left_out: tuple[str, ...] = ()  # what could not be used, each with why
    notes: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """sha-256 over names and contents."""
        total = hashlib.sha256()
        for item in self.items:
            total.update(f"{item.name}\0{hashlib.sha256(item.content.content()).hexdigest()}\n".encode())
        return total.hexdigest()


def gathered(
    request: Request, items: Sequence[Example], bad: Sequence[str], *, wanted: str = "examples", hint: str
) -> Examples:
    """What was read, once it is known that it will do.

    `bad` names what could not be used, with why; `wanted` and `hint` are for data in which there is nothing.

    Raises:
        CalibrationError: there is nothing; or something could not be used and is not to be skipped.
    """
    if bad and not request.skip_unreadable:
        raise CalibrationError(
            f"{request.path}: {len(bad)} of {len(bad) + len(items)} cannot be used: {listed(bad)}",
            hint="mend or remove them, or pass --skip-unreadable to go on without them",
        )
    if not items:
        left = f" that can be used: {listed(bad)}" if bad else ""
        raise CalibrationError(f"{request.path} holds no {wanted}{left}", hint=hint)
    return Examples(tuple(items), tuple(bad))


# --- to the model -----------------------------------------------------------------------------------------------


def prepare(model: Model, content: Content) -> Prepared:
    """What the model takes, by its own transform.

    Raises:
        FrameError: it cannot be read, or the model takes no such thing.
    """
    match content:
        case PictureFile(path):
            return model.prepare_image(read_image(path))
        case Pixels(values):
            return model.prepare_image(Image.fromarray(values))
        case Rows(values):
            return model.prepare_rows(values)
        case Sound(samples):
            return model.prepare_sound(samples)
        case Tensors():
            return model.prepare_tensors(content.values)


@dataclass(frozen=True, slots=True)
class Unlabeled:
    """Examples as representative data, whose truth nobody asks for: a `samples.Dataset`."""

    names: tuple[str, ...]
    digest: str
    _contents: tuple[Content, ...]
    _spec: InputSpec

    @classmethod
    def of(cls, examples: Examples, spec: InputSpec, positions: Sequence[int]) -> "Unlabeled":
        items = [examples.items[position] for position in positions]
        return cls(
            tuple(item.name for item in items),
            Examples(tuple(items)).digest,
            tuple(item.content for item in items),
            spec,
        )

    def inputs(self, tensors: Sequence[TensorSpec]) -> Iterator[list[Array]]:
        transform = Transform(self._spec, tensors)
        for content in self._contents:
            yield transform.apply(content)


class Transform:
    """The device's own, made once."""

    def __init__(self, spec: InputSpec, tensors: Sequence[TensorSpec]) -> None:
        self._tensors = tensors
        self._image = ImageTransform(spec, tensors[0]) if isinstance(spec, ImageInput) else None
        self._signal = SignalTransform(spec, tensors[0]) if isinstance(spec, SignalInput) else None
        self._audio = AudioTransform(spec, tensors[0]) if isinstance(spec, AudioInput) else None

    def apply(self, content: Content) -> list[Array]:
        """One array for each input.

        Raises:
            FrameError: it cannot be read.
            CalibrationError: it is not what the model takes.
        """
        if isinstance(content, PictureFile) and self._image:
            return [self._image.apply(read_image(content.path))[0]]
        if isinstance(content, Pixels) and self._image:
            return [self._image.apply(Image.fromarray(content.values))[0]]
        if isinstance(content, Rows) and self._signal:
            return [self._signal.apply(content.values)]
        if isinstance(content, Sound) and self._audio:
            return [self._audio.apply(content.samples)]
        if isinstance(content, Tensors) and len(content.stored) == len(self._tensors):
            pairs = zip(content.values, self._tensors, strict=True)
            return [quantize(real, tensor).reshape(tensor.shape) for real, tensor in pairs]
        raise CalibrationError("the data is not what the model takes", hint="state the input: input.kind of the recipe")
