"""One frame, window or vector as the model takes it: what goes into the engine, and a decoder may look back at."""

from dataclasses import dataclass

from edge_agent.transform.placement import Placement
from edge_agent.transform.tensor import Array


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """`inputs` in the dtypes and shapes of those that frames fill (`Model.inputs`), in their order."""

    inputs: tuple[Array, ...] = ()
    placement: Placement | None = None  # of a picture
