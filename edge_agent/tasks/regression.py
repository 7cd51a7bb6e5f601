"""Values with names and a unit: a temperature, an angle, a price. Value = model's value x scale + offset.

Source: a target that was standardized for training is given back so, scale being its deviation and offset its mean
(scikit-learn, sklearn/preprocessing/_data.py, StandardScaler.inverse_transform). Quantized outputs are made real before
(LiteRT 8-bit quantization specification).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from edge_agent.errors import ModelError, Reason, counted
from edge_agent.release.outputs import OutputSpec
from edge_agent.tasks.prediction import Prediction
from edge_agent.tasks.values import MAX_VALUES, check_names, check_numbers, count_values, read_values
from edge_agent.transform.prepared import Prepared
from edge_agent.transform.tensor import Array, TensorSpec


@dataclass(frozen=True, slots=True)
class RegressionDecoder:
    """All values of the outputs, or of those in `output_order`, one after the other.

    A prediction's index is the value's place among them. The score is 1.0: nothing says how sure the model is, and
    a condition on scores lets it pass.
    """

    spec: OutputSpec
    tensors: tuple[TensorSpec, ...]
    names: tuple[str, ...]
    positions: tuple[int, ...]

    @classmethod
    def build(cls, spec: OutputSpec, outputs: tuple[TensorSpec, ...], labels: tuple[str, ...]) -> "RegressionDecoder":
        """Check the outputs and the names; labels are names where the manifest has none.

        Raises:
            ModelError: INCOMPATIBLE or LABELS_MISMATCH.
        """
        positions = tuple(range(len(outputs))) if spec.output_order is None else spec.output_order
        if any(position >= len(outputs) for position in positions):
            raise ModelError(
                f"output_order is {list(positions)}; the model has {counted(len(outputs), 'output')}",
                reason=Reason.INCOMPATIBLE,
                hint="outputs count from 0",
            )
        tensors = tuple(outputs[position] for position in positions)
        check_numbers("regression", tensors)
        if count_values(tensors) > MAX_VALUES:
            raise ModelError(
                f"task regression tells at most {MAX_VALUES} values; this model gives {count_values(tensors)}",
                reason=Reason.INCOMPATIBLE,
                hint="choose the outputs that matter by output_order",
            )
        names = spec.names or labels
        check_names(names, tensors)
        return cls(spec, tensors, names, positions)

    def decode(self, outputs: Sequence[Array], prepared: Prepared) -> list[Prediction]:  # noqa: ARG002 - Decoder
        """The values in their order; without names each has its output's."""
        chosen = [outputs[position] for position in self.positions]
        found = [
            (value * self.spec.scale + self.spec.offset, tensor.name)
            for tensor, values in read_values(chosen, self.tensors)
            for value in values.tolist()
        ]
        return [
            Prediction(index, 1.0, self.names[index] if self.names else name, value=value, unit=self.spec.unit)
            for index, (value, name) in enumerate(found[: self.spec.top_k])
        ]
