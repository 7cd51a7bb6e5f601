"""A picture as a source gives it: encoded, as pixels, or as the YUV planes that cameras and videos are made of.

Nothing is decoded or converted here before it is asked for: `image` takes from each only what the model needs.
"""

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from edge_agent.errors import FrameError
from edge_agent.transform.placement import Box

# What is opened: common formats with a decoder of their own. Pillow knows more, among them EPS, which starts a program.
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "WEBP", "TIFF")  # a JPEG of several pictures (MPO) is one, too
MAX_PIXELS = 89_478_485  # Pillow's own limit against decompression bombs: a quarter of a GiB of RGB
# Between once and twice that limit pillow only warns, on stderr and with a path of its own; `check_size` refuses there.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
# What pillow raises on hostile or broken pictures (found by fuzzing, and reading its plugins).
_DECODING_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, ArithmeticError, MemoryError,
    NotImplementedError, struct.error, zlib.error, Image.DecompressionBombError, Image.DecompressionBombWarning,
)  # fmt: skip

_ORIENTATION_TAG = 0x0112
Rotation = Literal[0, 90, 180, 270]
Plane = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class View:
    """What is looked at of a picture: first it is turned clockwise, then cut to `roi`, px of the turned picture."""

    rotate_deg: Rotation = 0
    roi: Box | None = None


WHOLE = View()


@dataclass(frozen=True, slots=True, eq=False)
class EncodedPicture:
    """The bytes of a JPEG, PNG, BMP, GIF, WebP, TIFF or PPM file. Its header has been read. See `open_picture`."""

    content: bytes = field(repr=False)
    name: str
    size_px: tuple[int, int]  # as stored: a camera's JPEG may be meant to be turned
    _decoded: dict[tuple[str, tuple[int, int]], Image.Image] = field(default_factory=dict, repr=False)
    _opened: list[Image.Image] = field(
        default_factory=list, repr=False
    )  # whose header has been read, for the first use

    def decoded(self, mode: str, at_least_px: tuple[int, int] | None = None) -> tuple[Image.Image, tuple[float, float]]:
        """The pixels, of a JPEG at the largest reduction that leaves `at_least_px`; and its px for each px of width and
        height as stored.

        Each reduction is decoded once: several models may look at the picture.

        Raises:
            OSError, ValueError, ...: as pillow does; see `decoding`.
        """
        image = self._take()
        drafted = image.draft(mode, at_least_px) if at_least_px is not None else None
        key = (image.mode, image.size)
        known = self._decoded.get(key)
        if known is None:
            image.decodermaxblock = len(self.content)  # type: ignore[attr-defined]  # all at once: each block is a call
            image.load()
            known = self._decoded[key] = image
        # The last row and column of a reduced JPEG may be covered partly: `draft` tells the true extent.
        extent = (drafted[1][2], drafted[1][3]) if drafted is not None else self.size_px
        return known, (extent[0] / self.size_px[0], extent[1] / self.size_px[1])

    @property
    def orientation(self) -> int:
        """As EXIF has it (1 to 8); 1, upright, where it says nothing."""
        image = self._take()
        found = image.getexif().get(_ORIENTATION_TAG, 1)
        self._opened.append(image)
        return int(found) if isinstance(found, int) else 1

    @property
    def format(self) -> str:
        """Of the file, as pillow calls it: JPEG, PNG, …; a JPEG of several pictures is MPO."""
        image = self._take()
        self._opened.append(image)
        return image.format or ""

    def bare(self) -> "EncodedPicture":
        """Without what has been decoded of it, which is many times as large: for whoever keeps it."""
        return EncodedPicture(self.content, self.name, self.size_px)

    def _take(self) -> Image.Image:
        """A lazy Image that is nobody else's: decoding it at reduced size changes no other."""
        try:
            return self._opened.pop()
        except IndexError:
            return _open(self.content, self.name)


@dataclass(frozen=True, slots=True, eq=False)
class YuvPicture:
    """Planes of 8 bits: `y` [height, width], `u` and `v` of the same size or smaller by 2 in one or both directions.

    Owned by whoever holds it: a source copies them out of its decoder or camera.
    """

    y: Plane
    u: Plane
    v: Plane
    matrix: Literal["bt601", "bt709"] = "bt601"
    full_range: bool = False  # 0..255; else 16..235 (luma) and 16..240 (chroma), as in video
    name: str = "the picture"

    def __post_init__(self) -> None:
        height, width = self.y.shape
        ways = [((height + down - 1) // down, (width + right - 1) // right) for down in (1, 2) for right in (1, 2)]
        if self.u.shape != self.v.shape or self.u.shape not in ways:
            raise FrameError(
                f"{self.name}: planes of {self.y.shape}, {self.u.shape} and {self.v.shape} make no picture"
            )

    @property
    def size_px(self) -> tuple[int, int]:
        """Width, height."""
        height, width = self.y.shape
        return width, height


Picture = Image.Image | EncodedPicture | YuvPicture


def open_picture(content: bytes, name: str) -> EncodedPicture:
    """A picture from the bytes of its file. Only its header is read.

    Raises:
        FrameError: not a picture, or one too large to be decoded.
    """
    image = _open(content, name)
    return EncodedPicture(content, name, image.size, _opened=[image])


def check_size(size_px: tuple[int, int], name: str) -> None:
    """Refuse what would take too much memory to decode: a small file may claim any size.

    Raises:
        FrameError
    """
    width, height = size_px
    if width * height > MAX_PIXELS:
        raise FrameError(f"{name} has {width} x {height} px; at most {MAX_PIXELS} px are decoded", hint="shrink it")
    if width < 1 or height < 1:
        raise FrameError(f"{name} has {width} x {height} px", hint="leave out empty pictures")


@contextmanager
def decoding(name: str) -> Iterator[None]:
    """Turns what pillow raises into FrameError."""
    try:
        yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise FrameError(f"{name} has too many px; at most {MAX_PIXELS} px are decoded", hint="shrink it") from error
    except UnidentifiedImageError as error:
        raise FrameError(f"{name} is not a picture", hint="use JPEG, PNG, BMP, GIF, WebP, TIFF or PPM") from error
    except _DECODING_ERRORS as error:
        hint = "the file may be cut off or damaged; save it again as 8-bit JPEG or PNG"
        raise FrameError(f"{name} cannot be decoded: {error}", hint=hint) from error


def _open(content: bytes, name: str) -> Image.Image:
    if not content:
        raise FrameError(f"{name} is empty (0 bytes)", hint="it may not have been written to the end yet")
    with decoding(name):
        try:
            image = Image.open(io.BytesIO(content), formats=_FORMATS)
        except Image.DecompressionBombError:
            check_size(_stated_size(content), name)
            raise
    check_size(image.size, name)
    return image


def _stated_size(content: bytes) -> tuple[int, int]:
    """Width and height as the header has them, px: pillow's refusal tells only their product."""
    for kind in _FORMATS:
        read_header, is_of_kind = Image.OPEN.get(kind, (None, None))
        if read_header is not None and is_of_kind is not None and is_of_kind(content[:16]) is True:
            return read_header(io.BytesIO(content), "").size
    raise UnidentifiedImageError
