"""What a model was given, as the content of a file from which the same transform makes the same input.

A picture's own bytes where a source has them and all of it is looked at, else PNG of what is looked at and of nothing
around it. Windows of a sensor are CSV, sound is WAV of 32-bit floats; both lose nothing.
"""

import io
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from edge_agent.inference.frame import Frame, Rows, Sound
from edge_agent.transform.picture import WHOLE, EncodedPicture, View, decoding
from edge_agent.transform.placement import Box
from edge_agent.transform.render import render
from edge_agent.transform.rows import parse_number
from edge_agent.transform.wav import format_wav

Given = Frame | Rows | Sound
_SUFFIXES = {
    "JPEG": ".jpg", "MPO": ".jpg", "PNG": ".png", "BMP": ".bmp", "GIF": ".gif", "WEBP": ".webp", "TIFF": ".tif",
}  # fmt: skip
_QUICK = 1  # of PNG: a third larger than the best, in a tenth of its time
_ANY_WIDTH_PX = 1 << 20
_PLAIN_NAME = re.compile(r"""[^\s#;,"][^;,\t\r\n"]*""")


def content_of(given: Given) -> tuple[str, bytes]:
    """The suffix of the file, with its dot, and its bytes.

    Raises:
        FrameError: the picture cannot be decoded.
    """
    match given:
        case Frame():
            return _picture(given)
        case Rows():
            return ".csv", _csv(given)
        case Sound():
            return ".wav", format_wav(given.samples, given.sample_rate_hz)


def said_of(given: Given, predictions: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The predictions as they are of the file: boxes and keypoints in px of what is in it."""
    roi = given.view.roi if isinstance(given, Frame) else None
    left, top = (math.floor(roi.left), math.floor(roi.top)) if roi is not None else (0, 0)
    return [_moved(each, left, top) if roi is not None else {**each} for each in predictions]


def _picture(frame: Frame) -> tuple[str, bytes]:
    picture = frame.picture
    if isinstance(picture, EncodedPicture) and frame.view == WHOLE:
        with decoding(picture.name):
            suffix = _SUFFIXES.get(picture.format)
        if suffix is not None:
            return suffix, picture.content
    buffer = io.BytesIO()
    _seen(frame).save(buffer, "PNG", compress_level=_QUICK)
    return ".png", buffer.getvalue()


def _seen(frame: Frame) -> Image.Image:
    """What is looked at, upright."""
    picture = frame.picture
    if isinstance(picture, Image.Image) and picture.mode == "L" and frame.view == WHOLE and not picture.getexif():
        return picture  # a third of the bytes
    whole = render(picture, View(frame.view.rotate_deg), _ANY_WIDTH_PX).image
    roi = frame.view.roi
    return whole if roi is None else whole.crop(_whole_pixels(roi))


def _whole_pixels(roi: Box) -> tuple[int, int, int, int]:
    """As `transform.image` takes them."""
    return math.floor(roi.left), math.floor(roi.top), math.ceil(roi.right), math.ceil(roi.bottom)


def _moved(prediction: Mapping[str, Any], left: int, top: int) -> dict[str, Any]:
    moved = {**prediction}
    box = prediction.get("box")
    if box is not None:
        moved["box"] = [box[0] - left, box[1] - top, box[2] - left, box[3] - top]
    if prediction.get("keypoints") is not None:
        moved["keypoints"] = [{**each, "x": each["x"] - left, "y": each["y"] - top} for each in prediction["keypoints"]]
    if prediction.get("stages"):
        stages = prediction["stages"]
        moved["stages"] = {name: [_moved(each, left, top) for each in found] for name, found in stages.items()}
    return moved


def _csv(rows: Rows) -> bytes:
    """With a header where the model names its channels: without, any name could be taken for that of a label."""
    lines = [",".join(map(repr, map(float, row))) for row in rows.values]
    named = all(_PLAIN_NAME.fullmatch(name) for name in rows.channels)
    if named and not all(parse_number(name) is not None for name in rows.channels):
        lines.insert(0, ",".join(rows.channels))
    return ("\n".join(lines) + "\n").encode()
