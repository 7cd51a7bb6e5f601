"""Output values as they are, for models whose answer needs no decoding: one number, a few, a vector.

Source: there is nothing to decode; of a quantized output the real values, scale x (stored - zero point) (LiteRT 8-bit
quantization specification; tensorflow/lite/kernels/internal/reference/dequantize.h).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from edge_agent.errors import ModelError, Reason
from edge_agent.release.outputs import OutputSpec
from edge_agent.tasks.prediction import Prediction
from edge_agent.tasks.values import check_names, check_numbers, read_values
from edge_agent.transform.prepared import Prepared
from edge_agent.transform.tensor import Array, TensorSpec


@dataclass(frozen=True, slots=True)
class RawDecoder:
    """Any outputs of numbers. A prediction's index is the value's place in its output, its label the value's name, or
    the output's where values have none. The score is 1.0: nothing says how sure the model is.
    """

    spec: OutputSpec
    tensors: tuple[TensorSpec, ...]

    @classmethod
    def build(cls, spec: OutputSpec, outputs: tuple[TensorSpec, ...], labels: tuple[str, ...]) -> "RawDecoder":
        """Check the outputs.

        Raises:
            ModelError: INCOMPATIBLE, an output is not of numbers; LABELS_MISMATCH, there are labels, or other names
                than values.
        """
        if labels:
            raise ModelError(
                f"task raw has no use for labels; there are {len(labels)}",
                reason=Reason.LABELS_MISMATCH,
                hint="leave the labels out, or use task classification",
            )
        check_numbers("raw", outputs)
        check_names(spec.names, outputs)
        return cls(spec, outputs)

    def decode(self, outputs: Sequence[Array], prepared: Prepared) -> list[Prediction]:  # noqa: ARG002 - Decoder
        """The first `values.MAX_VALUES` values of all outputs, in order."""
        found = [
            (index, value, tensor.name)
            for tensor, values in read_values(outputs, self.tensors)
            for index, value in enumerate(values.tolist())
        ]
        names = self.spec.names
        return [
            Prediction(index, 1.0, names[place] if names else name, value=value)
            for place, (index, value, name) in enumerate(found[: self.spec.top_k])
        ]
