"""Output values as they are, for models whose answer needs no decoding: one number, a few, a vector."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge_agent.errors import ModelError, Reason
from edge_agent.release.outputs import OutputSpec
from edge_agent.tasks.prediction import Prediction
from edge_agent.transform.prepared import Prepared
from edge_agent.transform.tensor import Array, TensorSpec, dequantize

MAX_VALUES = 1000  # a result is a message, not a picture


@dataclass(frozen=True, slots=True)
class RawDecoder:
    """Any outputs of numbers. A prediction's index is the value's place in its output, its label the output's name."""

    spec: OutputSpec
    tensors: tuple[TensorSpec, ...]

    @classmethod
    def build(cls, spec: OutputSpec, outputs: tuple[TensorSpec, ...], labels: tuple[str, ...]) -> "RawDecoder":
        """Check the outputs.

        Raises:
            ModelError: INCOMPATIBLE, an output is not of numbers; LABELS_MISMATCH, there are labels.
        """
        if labels:
            raise ModelError(
                f"task raw has no use for labels; there are {len(labels)}",
                reason=Reason.LABELS_MISMATCH,
                hint="leave the labels out, or use task classification",
            )
        wrong = [tensor.label for tensor in outputs if tensor.dtype.kind not in "uifb"]
        if wrong or not outputs:
            raise ModelError(
                f"task raw needs outputs of numbers; this model gives {', '.join(wrong) or 'none'}",
                reason=Reason.INCOMPATIBLE,
            )
        return cls(spec, outputs)

    def decode(self, outputs: Sequence[Array], prepared: Prepared) -> list[Prediction]:  # noqa: ARG002 - Decoder
        """The first `MAX_VALUES` values of all outputs, in order."""
        found: list[Prediction] = []
        for tensor, stored in zip(self.tensors, outputs, strict=True):
            values = dequantize(stored, tensor).reshape(-1)[: MAX_VALUES - len(found)]
            if not np.isfinite(values).all():
                raise ModelError(f"the model gave {tensor.name} not as numbers", reason=Reason.TRIAL_ERRORS)
            found += [Prediction(index, float(value), tensor.name) for index, value in enumerate(values)]
        return found[: self.spec.top_k]
