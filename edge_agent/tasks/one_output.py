"""Which of a model's outputs a task reads that reads only one.

Models often give more than their answer: YAMNet gives its embedding and its spectrogram beside the scores
(https://www.tensorflow.org/hub/tutorials/yamnet). What the output must look like is the task's to say.
"""

from collections.abc import Callable

from edge_agent.errors import ModelError, Reason
from edge_agent.release.outputs import OutputSpec
from edge_agent.transform.tensor import TensorSpec


def one_output(
    spec: OutputSpec, outputs: tuple[TensorSpec, ...], fits: Callable[[TensorSpec], bool], needs: str
) -> int:
    """Its position: as `output_order` says, else the only one that fits. `needs` is for the message.

    Raises:
        ModelError: INCOMPATIBLE, none or several fit.
    """
    fitting = [position for position, tensor in enumerate(outputs) if fits(tensor)]
    if spec.output_order is not None:
        if len(spec.output_order) == 1 and spec.output_order[0] in fitting:
            return spec.output_order[0]
        told = f", told by output_order {list(spec.output_order)}"
    elif len(fitting) == 1:
        return fitting[0]
    else:
        told = ""
    found = ", ".join(tensor.label for tensor in outputs) or "none"
    several = "state output_order, the position of the one that is meant; or "
    raise ModelError(
        f"{needs}{told}; this model gives {found}",
        reason=Reason.INCOMPATIBLE,
        hint=f"{several if len(fitting) > 1 else ''}use another task; 'raw' takes every model",
    )
