"""The eight ways a picture may lie: EXIF's orientation, and a camera that was mounted askew."""

from PIL import Image

from edge_agent.transform.placement import Box

# Exif 2.3 §4.6.4 A: what to do to the stored picture to see it upright.
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_CLOCKWISE = ((1, 6, 3, 8), (2, 7, 4, 5))  # each is the one before it, turned by 90 degrees; plain and mirrored


def turned(orientation: int, rotate_deg: int) -> int:
    """The orientation of a picture that is to be turned clockwise once it stands upright."""
    for ring in _CLOCKWISE:
        if orientation in ring:
            return ring[(ring.index(orientation) + rotate_deg // 90) % 4]
    return turned(1, rotate_deg)  # a number that EXIF does not know


def lies_down(orientation: int) -> bool:
    """Whether width and height are swapped."""
    return orientation in (5, 6, 7, 8)


def stored_box(box: Box, orientation: int, stored_px: tuple[int, int]) -> Box:
    """A box of the upright picture in px of the picture as it is stored (width, height)."""
    width, height = stored_px
    corners = [_stored(x, y, orientation, width, height) for x, y in ((box.left, box.top), (box.right, box.bottom))]
    (left, right), (top, bottom) = (sorted(values) for values in zip(*corners, strict=True))
    return Box(left, top, right, bottom)


def _stored(x: float, y: float, orientation: int, width: int, height: int) -> tuple[float, float]:
    if lies_down(orientation):
        x, y = y, x
    return (width - x if orientation in (2, 3, 7, 8) else x), (height - y if orientation in (3, 4, 6, 7) else y)
