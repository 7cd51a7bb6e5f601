"""Small pictures of samples, for reports: of what somebody gave, or of what a model was shown.

Which samples are worth one is left to those who compare models.
"""

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from converter.data.examples import Content, PictureFile, Pixels
from edge_agent.inference.model import Model
from edge_agent.release.inputs import ImageInput
from edge_agent.transform.picture import decoding
from edge_agent.transform.tensor import Array, dequantize

LONGEST_PX = 96
_COLORS = (1, 3)  # channels of a picture


def thumbnail_of(content: Content) -> str | None:
    """What somebody gave, as PNG in base64; None where that is no picture.

    Raises:
        FrameError: it cannot be read.
    """
    match content:
        case PictureFile(path):
            with decoding(path.name), Image.open(path) as image:
                return _format(image.convert("RGB"))
        case Pixels(values):
            return _format(Image.fromarray(values).convert("RGB"))
        case _:
            return None


def thumbnail_of_inputs(model: Model, inputs: Sequence[Array]) -> str | None:
    """What the model was shown, made pixels again, as PNG in base64; None where that is no picture."""
    spec = model.manifest.input
    if (
        not isinstance(spec, ImageInput)
        or len(inputs) != 1
        or inputs[0].ndim != 4
        or inputs[0].shape[-1] not in _COLORS
    ):
        return None
    values = dequantize(inputs[0][0], model.engine.inputs[0])
    if spec.mean is not None and spec.std is not None:
        values = values * np.asarray(spec.std, np.float32) + np.asarray(spec.mean, np.float32)
    elif inputs[0].dtype.kind != "f":  # the pixel's byte as it is
        values = inputs[0][0].astype(np.float32) - (np.iinfo(inputs[0].dtype).min)
    pixels = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    if spec.color == "bgr":
        pixels = pixels[..., ::-1]
    return _format(Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else np.ascontiguousarray(pixels)))


def _format(picture: Image.Image) -> str:
    picture.thumbnail((LONGEST_PX, LONGEST_PX))
    stored = io.BytesIO()
    picture.save(stored, "PNG", optimize=True)
    return base64.b64encode(stored.getvalue()).decode()
