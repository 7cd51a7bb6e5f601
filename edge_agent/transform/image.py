"""From a picture to the input tensor: fit, resize, and one look-up from pixel to stored value.

The laptop calibrates and compares through this very code, so a model never sees another resize or another
normalization on the device than it was measured with. All arithmetic on pixels is Pillow's 8-bit fixed-point resampling
and whole numbers, so it comes out the same to the bit on every machine. Getting pictures is left to
`inference.sources`; YUV planes to RGB, to `yuv`.
"""

import math
from pathlib import Path

import numpy as np
from PIL import Image

from edge_agent.errors import FrameError, ModelError, Reason
from edge_agent.release.inputs import ImageInput
from edge_agent.transform.orientation import UPRIGHT, lies_down, stored_box, turned
from edge_agent.transform.picture import (
    WHOLE,
    EncodedPicture,
    Picture,
    View,
    YuvPicture,
    check_size,
    decoding,
    open_picture,
)
from edge_agent.transform.placement import Box, Placement, letterboxed_px
from edge_agent.transform.tensor import Array, TensorSpec, quantize
from edge_agent.transform.yuv import Resize, cut, resize_yuv

LETTERBOX_GRAY = 114  # of 255; what YOLO letterboxes with (ultralytics/yolov5 utils/augmentations.py, letterbox)

_ORIENTATION_TAG = 0x0112
# Averaging over whole blocks before the filter, as long as the picture stays at least as large as the target: less than
# half the time, and 0.8 gray levels from what the filter alone gives.
_REDUCING_GAP = 1.0


def read_image(path: Path) -> EncodedPicture:
    """`open_picture` of a file.

    Raises:
        FrameError: it cannot be read, is not a picture, or is too large.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise FrameError(f"{path}: {error.strerror or error}", hint="check the path") from error
    return open_picture(content, str(path))


class ImageTransform:
    """How one model takes pictures. Any thread may apply it.

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

    def apply(self, picture: Picture, view: View = WHOLE) -> tuple[Array, Placement]:
        """The input tensor, [1, height, width, channels] in the model's dtype, and where the picture lies in it.

        EXIF orientation is applied: view and placement are in px of the upright picture. An alpha channel is dropped.

        Raises:
            FrameError: the picture cannot be decoded.
        """
        if isinstance(picture, YuvPicture):
            return self._apply(picture, picture.size_px, turned(1, view.rotate_deg), view.roi)
        if isinstance(picture, EncodedPicture):
            with decoding(picture.name):
                orientation = turned(picture.orientation, view.rotate_deg)
                return self._apply(picture, picture.size_px, orientation, view.roi)
        name = getattr(picture, "filename", "") or "the picture"
        check_size(picture.size, name)
        with decoding(name):
            orientation = turned(picture.getexif().get(_ORIENTATION_TAG, 1), view.rotate_deg)
            return self._apply(picture, picture.size, orientation, view.roi)

    def _apply(
        self, picture: Picture, stored_px: tuple[int, int], orientation: int, roi: Box | None
    ) -> tuple[Array, Placement]:
        pixels, placement = self._place(picture, stored_px, orientation, roi)
        return self._lut.apply(pixels), placement

    def _place(
        self, picture: Picture, stored_px: tuple[int, int], orientation: int, roi: Box | None
    ) -> tuple[Array, Placement]:
        """Pixels [height, width] or [height, width, rgb], uint8, of the fitted picture.

        All is done in the stored orientation and only the small result is turned: letterbox and crop are
        centered, so it comes to the same.
        """
        upright_px = stored_px[::-1] if lies_down(orientation) else stored_px
        placement = Placement.fit(self._spec.fit, upright_px, self.size_px, _whole_pixels(roi, upright_px))
        fitted = self._spec.fit == "letterbox"
        content_px = letterboxed_px(placement.bounds.size, self.size_px) if fitted else self.size_px
        box = stored_box(placement.visible, orientation, stored_px)
        resized = self._resize(picture, content_px[::-1] if lies_down(orientation) else content_px, box)
        if orientation in UPRIGHT:
            resized = resized.transpose(UPRIGHT[orientation])
        if resized.size != self.size_px:  # the bars of a letterbox
            canvas = Image.new(self._mode, self.size_px, (LETTERBOX_GRAY,) * len(self._mode))
            bars = [(whole - part) // 2 for whole, part in zip(self.size_px, resized.size, strict=True)]
            canvas.paste(resized, (bars[0], bars[1]))
            resized = canvas
        return np.asarray(resized), placement

    def _resize(self, picture: Picture, content_px: tuple[int, int], box: Box) -> Image.Image:
        """`box` (px of the picture as it is stored) at the size of `content_px`, in our mode."""
        gap = _REDUCING_GAP if self._spec.decode == "reduced" else None
        if isinstance(picture, YuvPicture):
            return resize_yuv(picture, self._mode, Resize(content_px, box, self._filter, gap))
        per_x = per_y = 1.0
        if isinstance(picture, EncodedPicture):
            needed_px = _needed_px(picture.size_px, content_px, box) if self._spec.decode == "reduced" else None
            image, (per_x, per_y) = picture.decoded(self._mode, needed_px)
        else:
            image = picture
        scaled = Box(box.left * per_x, box.top * per_y, box.right * per_x, box.bottom * per_y)
        part, inside = cut(image, scaled)
        return _converted(part, self._mode).resize(content_px, self._filter, inside, gap)


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


def _needed_px(stored_px: tuple[int, int], content_px: tuple[int, int], box: Box) -> tuple[int, int]:
    """The size that the whole picture must keep for `box` to be at least `content_px`."""
    width, height = box.size
    return math.ceil(content_px[0] * stored_px[0] / width), math.ceil(content_px[1] * stored_px[1] / height)


def _whole_pixels(roi: Box | None, upright_px: tuple[int, int]) -> Box | None:
    """The region as whole pixels of the picture, at least one.

    Raises:
        FrameError: it lies outside of the picture.
    """
    if roi is None:
        return None
    width, height = upright_px
    found = Box(math.floor(roi.left), math.floor(roi.top), math.ceil(roi.right), math.ceil(roi.bottom))
    found = found.clipped(Box(0, 0, width, height))
    if found.area <= 0:
        raise FrameError(f"a region {roi} of a picture of {width} x {height} px", hint="it has to lie in the picture")
    return found


def _converted(image: Image.Image, mode: str) -> Image.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        raise ValueError(f"pixels of mode {image.mode!r} have more than 8 bits")
    return image if image.mode == mode else image.convert(mode)
