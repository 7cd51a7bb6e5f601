"""What travels through the threads of a worker: frames on their way, and the orders between them.

The threads themselves are `pipeline`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from edge_agent.errors import ModelError
from edge_agent.inference.capture import Captured
from edge_agent.inference.frame import Frame, Sample
from edge_agent.inference.model import Model
from edge_agent.release.inputs import SignalInput
from edge_agent.transform.prepared import Prepared
from edge_agent.transform.tensor import Array


class Served:
    """A loaded release, with the window that is being filled for it. Closed by the pipeline it was given to."""

    def __init__(self, digest: str, model: Model) -> None:
        self.digest = digest
        self.model = model
        spec = model.manifest.input
        self.channels = spec.channels if isinstance(spec, SignalInput) else ()
        self._windower = model.windower() if isinstance(spec, SignalInput) else None
        self._capture_ms = 0.0

    def frame(self, captured: Captured, frame: Frame) -> "Job":
        prepare = partial(self.model.prepare_image, frame.image)
        return Job(self, frame.name, frame.captured_s, prepare, {"capture": captured.capture_ms})

    def window(self, captured: Captured, sample: Sample) -> "Job | None":
        """The window that this row completes, if it does; of a model that takes plain numbers, the row itself."""
        self._capture_ms += captured.capture_ms
        prepare = partial(self.model.prepare_tensors, [sample.values])
        if self._windower is not None:
            rows = self._windower.push(sample.values)
            if rows is None:
                return None
            prepare = partial(self.model.prepare_rows, rows)
        capture_ms, self._capture_ms = self._capture_ms, 0.0
        return Job(self, sample.name, sample.captured_s, prepare, {"capture": capture_ms})


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One frame or window on its way, with the release that is to answer it and what it has taken so far."""

    served: Served
    name: str
    captured_s: float
    prepare: Callable[[], Prepared]
    latency_ms: dict[str, float]
    seq: int = 0
    prepared: Prepared | None = None
    outputs: Sequence[Array] = ()
    failure: ModelError | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Switch:
    """From here on this release answers; None: none does."""

    new: Served | None


class Ended:
    """The source has given all it had."""
