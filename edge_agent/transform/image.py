"""From a picture to the input tensor: fit, resize, and one look-up from pixel to stored value.

The laptop calibrates and compares through this very code, so a model never sees another resize or another
normalization on the device than it was measured with. Getting encoded pictures is left to `inference.sources`.
"""

import io
import math
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from edge_agent.errors import FrameError, ModelError, Reason
from edge_agent.release.manifest import ImageInput
from edge_agent.transform.placement import Box, Placement, letterboxed_px
from edge_agent.transform.tensor import Array, TensorSpec, quantize

LETTERBOX_GRAY = 114  # of 255; what YOLO letterboxes with (ultralytics/yolov5 utils/augmentations.py, letterbox)

# What is opened: common formats with a decoder of their own. Pillow knows more, among them EPS, which starts a program.
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "WEBP", "TIFF")  # a JPEG of several pictures (MPO) is one, too
# What pillow raises on hostile or broken pictures (found by fuzzing, and reading its plugins).
_DECODING_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, ArithmeticError, MemoryError,
    NotImplementedError, struct.error, zlib.error, Image.DecompressionBombError, Image.DecompressionBombWarning,
)  # fmt: skip
_ORIENTATION_TAG = 0x0112
_EXTENT = "edge_deploy_extent"  # key in Image.info, see _reduce
# Exif 2.3 §4.6.4 A: what to do to the stored picture to see it upright.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_LYING_DOWN = (5, 6, 7, 8)  # orientations that swap width and height


def open_image(content: bytes, name: str) -> Image.Image:
    """A picture from the bytes of its file. Only its header is read; `ImageTransform` decodes it, maybe reduced.

    Raises:
        FrameError: not a picture, or one too large to be decoded.
    """
    with _decoding(name):
        image = Image.open(io.BytesIO(content), formats=_FORMATS)
    _check_size(image, name)
    return image


def read_image(path: Path) -> Image.Image:
    """`open_image` of a file.

    Raises:
        FrameError: it cannot be read, is not a picture, or is too large.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise FrameError(f"{path}: {error.strerror or error}", hint="check the path") from error
    return open_image(content, str(path))


class ImageTransform:
    """How one model takes pictures. Immutable; any thread may apply it.

    Raises:
        ModelError: INCOMPATIBLE, the model's input is not one this specification can fill.
    """

    def __init__(self, spec: ImageInput, tensor: TensorSpec) -> None:
        channels = 1 if spec.color == "gray" else 3
        _check_tensor(spec, tensor, channels)
        self.size_px: tuple[int, int] = (tensor.shape[2], tensor.shape[1])  # width, height
        self._spec = spec
        self._mode = "L" if spec.color == "gray" else "RGB"
        self._filter = Image.Resampling[spec.resample.upper()]
        self._lut = _LookUpTable(spec, tensor, channels)

    def apply(self, image: Image.Image) -> tuple[Array, Placement]:
        """The input tensor, [1, height, width, channels] in the model's dtype, and where the picture lies in it.

        EXIF orientation is applied: the placement is in px of the upright picture. An alpha channel is dropped.

        Raises:
            FrameError: the picture cannot be decoded.
        """
        name = getattr(image, "filename", "") or "the picture"
        _check_size(image, name)
        with _decoding(name):
            pixels, placement = self._place(image)
        return self._lut.apply(pixels), placement

    def _place(self, image: Image.Image) -> tuple[Array, Placement]:
        """Pixels [height, width] or [height, width, rgb], uint8, of the fitted picture.

        All is done in the stored orientation and only the small result is turned: letterbox and crop are
        centered, so it comes to the same.
        """
        orientation = image.getexif().get(_ORIENTATION_TAG, 1)
        lying = orientation in _LYING_DOWN
        resized, stored_px = self._resize(image, self.size_px[::-1] if lying else self.size_px)
        if orientation in _UPRIGHT:
            resized = resized.transpose(_UPRIGHT[orientation])
        if resized.size != self.size_px:  # the bars of a letterbox
            canvas = Image.new(self._mode, self.size_px, (LETTERBOX_GRAY,) * len(self._mode))
            bars = [(whole - part) // 2 for whole, part in zip(self.size_px, resized.size, strict=True)]
            canvas.paste(resized, (bars[0], bars[1]))
            resized = canvas
        upright_px = stored_px[::-1] if lying else stored_px
        return np.asarray(resized), Placement.fit(self._spec.fit, upright_px, self.size_px)

    def _resize(self, image: Image.Image, target_px: tuple[int, int]) -> tuple[Image.Image, tuple[int, int]]:
        """The content for the target, without bars, and the size of the whole picture as it is stored."""
        source_px, _ = _extent(image)
        whole = Placement.fit("stretch", source_px, target_px).shown
        if self._spec.fit == "letterbox":
            content_px, shown = letterboxed_px(source_px, target_px), whole
        else:
            content_px, shown = target_px, Placement.fit(self._spec.fit, source_px, target_px).shown
        if self._spec.decode == "reduced":
            _reduce(image, self._mode, content_px, shown)
        extent_px = _extent(image)[1]
        per_x, per_y = extent_px[0] / source_px[0], extent_px[1] / source_px[1]
        box = (shown.left * per_x, shown.top * per_y, shown.right * per_x, shown.bottom * per_y)
        return _converted(image, self._mode).resize(content_px, self._filter, box), source_px


class _LookUpTable:
    """Pixel 0..255 → stored value, for each channel; a plain view where that is all there is to it."""

    def __init__(self, spec: ImageInput, tensor: TensorSpec, channels: int) -> None:
        columns = [_stored_values(spec, tensor, channel) for channel in range(channels)]
        bytes_as_they_are = np.arange(256)
        self._reverse = spec.color == "bgr"
        self._identity = tensor.dtype == np.uint8 and all(
            np.array_equal(column, bytes_as_they_are) for column in columns
        )
        self._shifted = tensor.dtype == np.int8 and all(
            np.array_equal(column, bytes_as_they_are - 128) for column in columns
        )
        self._same = all(np.array_equal(column, columns[0]) for column in columns)
        self._columns = columns
        self._shape = tensor.shape

    def apply(self, pixels: Array) -> Array:
        if self._reverse:
            pixels = pixels[..., ::-1]
        pixels = np.ascontiguousarray(pixels).reshape(self._shape)
        if self._identity:
            return pixels
        if self._shifted:
            return np.bitwise_xor(pixels, 128).view(np.int8)  # byte - 128 is the byte with its top bit turned
        if self._same:
            return np.take(self._columns[0], pixels)
        stored = np.empty(self._shape, self._columns[0].dtype)
        for channel, column in enumerate(self._columns):
            stored[..., channel] = np.take(column, pixels[..., channel])
        return stored


def _stored_values(spec: ImageInput, tensor: TensorSpec, channel: int) -> Array:
    """The 256 stored values of one channel, in the dtype of the tensor."""
    byte = np.arange(256)
    if spec.mean is not None and spec.std is not None:
        mean, std = (values[channel if len(values) > 1 else 0] for values in (spec.mean, spec.std))
        return quantize((byte - mean) / std, tensor)
    if tensor.dtype == np.int8:
        return (byte - 128).astype(np.int8)
    if tensor.dtype == np.uint8:
        return byte.astype(np.uint8)
    return quantize(byte.astype(np.float64), tensor)


def _check_tensor(spec: ImageInput, tensor: TensorSpec, channels: int) -> None:
    def incompatible(wanted: str, hint: str) -> ModelError:
        return ModelError(
            f"a picture needs {wanted}; this model takes {tensor.label}", reason=Reason.INCOMPATIBLE, hint=hint
        )

    shape = tensor.shape
    if len(shape) == 4 and shape[1] in (1, 3) and shape[3] not in (1, 3):
        raise incompatible("channels last, [1, height, width, channels]", "convert the model to channels last (NHWC)")
    if len(shape) != 4 or shape[3] not in (1, 3):
        raise incompatible(
            "an input [1, height, width, 1 or 3]", "state the task and input kind the model was made for"
        )
    if shape[0] != 1:
        raise incompatible("a batch of 1", "convert the model with a batch of 1")
    if shape[3] != channels:
        color = "gray" if shape[3] == 1 else "rgb or bgr"
        raise incompatible(f"{channels} channels for color {spec.color!r}", f"use color {color}")
    if tensor.dtype.kind not in "uif":
        raise incompatible("numbers as its input", "use task 'raw'")
    if spec.mean is None and tensor.quantization is not None and tensor.dtype.itemsize != 1:
        raise incompatible("mean and std for a quantized input of more than 8 bits", "state mean and std")
    for what, values in (("mean", spec.mean), ("std", spec.std)):
        if values is not None and len(values) not in (1, channels):
            raise incompatible(f"1 or {channels} values of {what}, found {len(values)}", f"give 1 or {channels} values")


def _reduce(image: Image.Image, mode: str, content_px: tuple[int, int], shown: Box) -> None:
    """Have a JPEG decoded at the largest reduction that leaves `shown` at least `content_px`, if it is still to be."""
    width, height = image.size
    needed_px = (
        math.ceil(content_px[0] * width / (shown.right - shown.left)),
        math.ceil(content_px[1] * height / (shown.bottom - shown.top)),
    )
    drafted = image.draft(mode, needed_px)
    if drafted is not None:  # else another format, or decoded already
        # `draft` changes the picture's size for good, so the true one is noted for whoever applies a transform again.
        image.info.setdefault(_EXTENT, ((width, height), (drafted[1][2], drafted[1][3])))


def _extent(image: Image.Image) -> tuple[tuple[int, int], tuple[float, float]]:
    """Size of the whole picture, and its extent in px of its decoded form.

    They differ only where it is decoded reduced; there the last row and column may be covered partly.
    """
    noted: tuple[tuple[int, int], tuple[float, float]] = image.info.get(_EXTENT, (image.size, image.size))
    return noted


def _converted(image: Image.Image, mode: str) -> Image.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        raise ValueError(f"pixels of mode {image.mode!r} have more than 8 bits")
    return image if image.mode == mode else image.convert(mode)


def _check_size(image: Image.Image, name: str) -> None:
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and image.width * image.height > limit:
        raise FrameError(
            f"{name} has {image.width} x {image.height} px; at most {limit} px are decoded", hint="shrink the picture"
        )
    if 0 in image.size:
        raise FrameError(f"{name} has {image.width} x {image.height} px", hint="leave out empty pictures")


@contextmanager
def _decoding(name: str) -> Iterator[None]:
    try:
        yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise FrameError(f"{name} is too large to be decoded: {error}", hint="shrink the picture") from error
    except UnidentifiedImageError as error:
        raise FrameError(f"{name} is not a picture", hint="use JPEG, PNG, BMP, GIF, WebP, TIFF or PPM") from error
    except _DECODING_ERRORS as error:
        hint = "the file may be cut off or damaged; save it again as 8-bit JPEG or PNG"
        raise FrameError(f"{name} cannot be decoded: {error}", hint=hint) from error
