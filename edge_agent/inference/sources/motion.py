"""Whether something has moved in a picture: small thumbnails of gray, compared with the last one let through.

Nothing here knows what has moved, or where: that is the model's work, which this is to spare.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_agent.config.sources import MotionGate
from edge_agent.transform.orientation import stored_box, turned
from edge_agent.transform.picture import WHOLE, EncodedPicture, Picture, View, YuvPicture, decoding
from edge_agent.transform.placement import Box

_SIDE_PX = 64  # of the longer side: noise of the sensor averages out, a person of 2 % of the picture is 50 px
_ORIENTATION_TAG = 0x0112
Thumbnail = NDArray[np.uint8]


class Gate:
    """Lets the first picture through, and then each that differs enough from the last one that was let through.

    So what moves slowly is seen too, once it has come far enough. One thread asks.
    """

    def __init__(self, config: MotionGate) -> None:
        self._config = config
        self._last: NDArray[np.int16] | None = None
        self._since_s = 0.0

    def lets_through(self, picture: Picture, now_s: float, view: View = WHOLE) -> bool:
        """Whether this picture is to be looked at. What lies outside of `view` may move as it likes.

        Raises:
            FrameError: the picture cannot be decoded.
        """
        seen = thumbnail(picture, view).astype(np.int16)
        if not self._has_moved(seen) and not self._is_overdue(now_s):
            return False
        self._last = seen
        self._since_s = now_s
        return True

    def _has_moved(self, seen: NDArray[np.int16]) -> bool:
        if self._last is None or self._last.shape != seen.shape:
            return True
        changed = np.abs(seen - self._last) >= self._config.difference
        return bool(np.count_nonzero(changed) >= max(self._config.threshold * changed.size, 1))

    def _is_overdue(self, now_s: float) -> bool:
        longest_s = self._config.max_still_s
        return longest_s is not None and now_s - self._since_s >= longest_s


def thumbnail(picture: Picture, view: View = WHOLE) -> Thumbnail:
    """The viewed part in gray, its longer side 64 px, as it is stored (not turned).

    Of a JPEG an eighth of its width and height is decoded, of YUV planes only the luma is read.

    Raises:
        FrameError: the picture cannot be decoded.
    """
    if isinstance(picture, YuvPicture):
        return _shrunk(Image.fromarray(picture.y), _box(view, 1, picture.size_px), (1.0, 1.0))
    with decoding(picture.name if isinstance(picture, EncodedPicture) else "the picture"):
        exif = orientation_of(picture) if view.roi is not None else 1
        if not isinstance(picture, EncodedPicture):
            return _shrunk(picture, _box(view, exif, picture.size), (1.0, 1.0))
        box = _box(view, exif, picture.size_px)
        width, height = (max(1, round(_SIDE_PX * side / max(box.size))) for side in picture.size_px)
        image, per = picture.decoded("L", (width, height))  # so that the part has its 64 px
        return _shrunk(image, box, per)


def orientation_of(picture: Picture) -> int:
    """As EXIF has it; 1 is upright."""
    if isinstance(picture, YuvPicture):
        return 1
    if isinstance(picture, EncodedPicture):
        return picture.orientation
    return int(picture.getexif().get(_ORIENTATION_TAG, 1))


def _box(view: View, exif: int, stored_px: tuple[int, int]) -> Box:
    """What is looked at, in px of the picture as it is stored."""
    whole = Box(0.0, 0.0, float(stored_px[0]), float(stored_px[1]))
    if view.roi is None:
        return whole
    return stored_box(view.roi, turned(exif, view.rotate_deg), stored_px).clipped(whole)


def _shrunk(image: Image.Image, box: Box, per: tuple[float, float]) -> Thumbnail:
    (width, height), longer = box.size, max(box.size)
    size_px = max(1, round(_SIDE_PX * width / longer)), max(1, round(_SIDE_PX * height / longer))
    corners = (box.left * per[0], box.top * per[1], box.right * per[0], box.bottom * per[1])
    if image.mode not in ("L", "RGB"):
        image = image.convert("RGB")
    small = image.resize(size_px, Image.Resampling.BOX, corners, reducing_gap=1.0)
    shrunk: Thumbnail = np.asarray(small.convert("L"))
    return shrunk
