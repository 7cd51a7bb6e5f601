"""Whether arrays of pictures are normalized as the model's input declares: the commonest silent mistake."""

from collections.abc import Sequence

import numpy as np

from converter.data.examples import Example, Tensors
from converter.errors import CalibrationError
from edge_agent.release.inputs import ImageInput, InputSpec
from edge_agent.transform.tensor import TensorSpec

_SLACK = 0.05  # of the declared range: what resizing overshoots
_SLIVER = 0.02  # of the declared range: values that stay within it are of another normalization


def check_normalization(examples: Sequence[Example], spec: InputSpec, tensor: TensorSpec) -> None:
    """Refuse arrays of pictures that are normalized in another way than the model's input declares.

    Raises:
        CalibrationError: they are.
    """
    arrays = [example.content.values[0] for example in examples if isinstance(example.content, Tensors)]
    if not arrays or not isinstance(spec, ImageInput):
        return
    if spec.mean is None and tensor.dtype.kind != "f":  # bytes as they are: nobody knows what stands for them
        return
    means, stds = np.array(spec.mean or (0.0,)), np.array(spec.std or (1.0,))
    ends = np.stack([(0 - means) / stds, (255 - means) / stds])
    low, high = float(ends.min()), float(ends.max())
    least, most = min(float(array.min()) for array in arrays), max(float(array.max()) for array in arrays)
    span = high - low
    if least < low - _SLACK * span or most > high + _SLACK * span or 0 < most - least < _SLIVER * span:
        raise CalibrationError(
            f"the data holds values from {least:g} to {most:g}; by its normalization the model takes {low:g} to "
            f"{high:g}",
            hint="normalize the arrays as in training, give pictures as uint8, or state --mean and --std",
        )
