"""A picture for people: upright, as RGB, no larger than wanted. What was found in it is drawn by `inference.annotate`.

Nothing here has to come out the same on every machine; it has to be quick, and is done only when somebody looks.
"""

from dataclasses import dataclass

from PIL import ExifTags, Image

from edge_agent.transform.orientation import UPRIGHT, lies_down, turned
from edge_agent.transform.picture import EncodedPicture, Picture, View, YuvPicture, check_size, decoding, open_picture
from edge_agent.transform.placement import Box
from edge_agent.transform.yuv import Resize, resize_yuv

_HEIGHT_PER_WIDTH = 2  # at most: the picture of a line-scan camera may be of any height
_FILTER = Image.Resampling.BILINEAR
_REDUCING_GAP = 1.0  # as `image` does


@dataclass(frozen=True, slots=True, eq=False)
class Rendered:
    """The whole picture, turned as the view has it, and how many of its px one px of the picture is."""

    image: Image.Image  # RGB
    scale: tuple[float, float]  # of width and height


def render(picture: Picture, view: View, width_px: int) -> Rendered:
    """The whole picture at a width of at most `width_px`, never enlarged: `view.roi` is left to be marked.

    A JPEG is decoded at reduced size, YUV planes are shrunk first, and nothing is kept.

    Raises:
        FrameError: it cannot be decoded.
    """
    if isinstance(picture, YuvPicture):
        return _rendered(picture, picture.size_px, turned(1, view.rotate_deg), width_px)
    if isinstance(picture, EncodedPicture):
        own = open_picture(picture.content, picture.name)  # what is decoded for people is not to be kept with the frame
        with decoding(picture.name):
            return _rendered(own, own.size_px, turned(own.orientation, view.rotate_deg), width_px)
    name = getattr(picture, "filename", "") or "the picture"
    check_size(picture.size, name)
    with decoding(name):
        orientation = turned(picture.getexif().get(ExifTags.Base.Orientation, 1), view.rotate_deg)
        return _rendered(picture, picture.size, orientation, width_px)


def _rendered(picture: Picture, stored_px: tuple[int, int], orientation: int, width_px: int) -> Rendered:
    upright_px = stored_px[::-1] if lies_down(orientation) else stored_px
    share = min(1.0, width_px / upright_px[0], _HEIGHT_PER_WIDTH * width_px / upright_px[1])
    size_px = (max(1, round(upright_px[0] * share)), max(1, round(upright_px[1] * share)))
    resized = _resized(picture, stored_px, size_px[::-1] if lies_down(orientation) else size_px)
    if orientation in UPRIGHT:
        resized = resized.transpose(UPRIGHT[orientation])
    return Rendered(resized, (size_px[0] / upright_px[0], size_px[1] / upright_px[1]))


def _resized(picture: Picture, stored_px: tuple[int, int], size_px: tuple[int, int]) -> Image.Image:
    """The whole picture at this size, as stored."""
    if isinstance(picture, YuvPicture):
        return resize_yuv(picture, "RGB", Resize(size_px, Box(0, 0, *stored_px), _FILTER, _REDUCING_GAP))
    image, per_x, per_y = picture, 1.0, 1.0
    if isinstance(picture, EncodedPicture):
        image, (per_x, per_y) = picture.decoded("RGB", size_px)
    assert isinstance(image, Image.Image), "the third kind of picture"
    pixels = image if image.mode == "RGB" else image.convert("RGB")
    return pixels.resize(size_px, _FILTER, (0, 0, stored_px[0] * per_x, stored_px[1] * per_y), _REDUCING_GAP)
