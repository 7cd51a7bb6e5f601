"""The samples a model is quantized with: taken from the representative data, and refused where they would ruin it."""

from collections.abc import Sequence

import numpy as np

from converter.errors import CalibrationError
from converter.samples import Dataset
from edge_agent.transform.tensor import Array, TensorSpec

FEW_SAMPLES = 50  # below it activation ranges are often too narrow


def collect_samples(dataset: Dataset, tensors: Sequence[TensorSpec]) -> list[list[Array]]:
    """Every sample as the float model takes it.

    A quantizer believes what it is given: values that are not finite make a model that kills the interpreter, and
    values that never change make one that answers the same to everything.

    Raises:
        CalibrationError: there are such values.
    """
    samples = list(dataset.inputs(tensors))
    for number, tensor in enumerate(tensors):
        column = np.stack([sample[number] for sample in samples])
        if not np.isfinite(column).all():
            bad = [name for name, values in zip(dataset.names, column, strict=True) if not np.isfinite(values).all()]
            raise CalibrationError(f"{len(bad)} samples hold NaN or Inf: {', '.join(bad[:3])}")
        quantized = np.issubdtype(tensor.dtype, np.floating)  # a sample rate that is always the same is none of it
        if quantized and column.size > 1 and float(np.ptp(column)) == 0.0:
            raise CalibrationError(
                f"every calibration value for input {tensor.name} is {column.flat[0]:g}",
                hint="give data like the device will see: a constant picture calibrates nothing",
            )
    return samples
