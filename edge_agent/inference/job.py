"""What travels through the threads of a worker: frames on their way, and the orders between them.

The threads themselves are `pipeline`; what a stage does with its turn, `stage`; what becomes of a finished job,
`answers`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from edge_agent.errors import FrameError, ModelError
from edge_agent.inference.capture import Captured
from edge_agent.inference.frame import Frame, Rows, Sample, Sound, Taken, Wanted
from edge_agent.inference.model import Model
from edge_agent.release.inputs import AudioInput, SignalInput, TensorInput
from edge_agent.tasks.prediction import Prediction
from edge_agent.transform.prepared import Prepared
from edge_agent.transform.tensor import Array

if TYPE_CHECKING:
    from edge_agent.inference.sound import SoundFeed, SoundWindow

Prepare = Callable[[], Prepared]


@dataclass(frozen=True, slots=True, eq=False)
class Ready:
    """One picture, window or vector that can be prepared."""

    name: str
    captured_s: float
    prepare: Prepare
    began_anew: bool = False  # what came before does not belong to it: a model that remembers is to forget
    given: Rows | Sound | None = None  # what it is prepared from; of a picture, None


class Served:
    """A loaded release of one stage, with the window that is being filled for it. Closed by its pipeline.

    `say` is told what the operator is to know of the input: that sound is resampled, say.
    """

    def __init__(self, digest: str, model: Model, say: Callable[[str], None] = lambda _: None) -> None:
        self.digest = digest
        self.model = model
        spec = model.manifest.input
        channels = spec.channels if isinstance(spec, SignalInput | TensorInput) else ()
        self.wants = Wanted(channels, model.sample_rate_hz)
        self._windower = model.windower() if isinstance(spec, SignalInput) else None
        self._sound = _new_sound_feed(model, say) if isinstance(spec, AudioInput) else None
        self._capture_ms = 0.0  # of the window that is being filled
        self.capture_ms = 0.0  # of what `feed` gave last
        self._gap = False  # since what `feed` gave last

    def feed(self, captured: Captured, wanted: Wanted) -> list[Ready]:
        """What can be prepared now that this has come in: a picture, or each window that it completes.

        `wanted` is what the source has been asked for. A row without a window is the model's whole input.

        Raises:
            FrameError: it lacks what the model wants.
            SourceError: all that this source gives does.
        """
        self._capture_ms += captured.capture_ms
        self._gap |= not isinstance(captured.taken, Frame) and captured.taken.after_gap
        ready = self._feed(captured.taken, wanted)
        if ready:
            self.capture_ms, self._capture_ms = self._capture_ms, 0.0
            ready[0], self._gap = replace(ready[0], began_anew=self._gap), False
        return ready

    def _feed(self, taken: Taken, wanted: Wanted) -> list[Ready]:
        if isinstance(taken, Frame):
            return [Ready(taken.name, taken.captured_s, partial(self.model.prepare_image, taken.picture, taken.view))]
        if isinstance(taken, Sound):
            windows = self._sound.push(taken) if self._sound is not None else []
            return [self._sound_ready(each) for each in windows]
        mine = self.wants.channels
        if taken.channels != wanted.channels and not (mine and set(mine) <= set(taken.channels)):
            if self._windower is not None:
                self._windower.clear()
            self._gap = True
            return []  # a few rows were read ahead for the columns of the model before
        return self._row_ready(taken)

    def _sound_ready(self, window: "SoundWindow") -> Ready:
        given = Sound(window.name, window.captured_s, window.samples, self.wants.sample_rate_hz or 0)
        return Ready(window.name, window.captured_s, partial(self.model.prepare_sound, window.samples), given=given)

    def _row_ready(self, sample: Sample) -> list[Ready]:
        values = _picked(sample, self.wants.channels)
        if self._windower is None:
            rows, prepare = np.array([values], np.float64), partial(self.model.prepare_row, values)
        else:
            if sample.after_gap:
                self._windower.clear()
            window = self._windower.push(values)
            if window is None:
                return []
            rows, prepare = window, partial(self.model.prepare_rows, window)
        return [Ready(sample.name, sample.captured_s, prepare, given=Rows(self.wants.channels, rows))]


def _new_sound_feed(model: Model, say: Callable[[str], None]) -> "SoundFeed":
    from edge_agent.inference.sound import SoundFeed  # its filters are memory

    return SoundFeed(model, say)


@dataclass(slots=True, eq=False)
class Turn:
    """One stage and one frame: of a cascade, all crops of it. Filled in as it goes from thread to thread."""

    served: Served
    prepare: Prepare | None = None  # until the inputs are there
    began_anew: bool = False  # see Ready
    given: Rows | Sound | None = None  # see Ready; None where nobody keeps it
    inputs: list[Prepared] = field(default_factory=list)
    outputs: list[Sequence[Array]] = field(default_factory=list)  # of each input
    crops_of: str | None = None  # of a cascade: the other stage, and which of its predictions each input is of
    parents: list[int] = field(default_factory=list)
    predictions: list[list[Prediction]] | None = None  # of each input, once decoded
    failure: ModelError | None = None
    latency_ms: dict[str, float] = field(default_factory=dict)  # by step, of all inputs together


@dataclass(slots=True, eq=False)
class Job:
    """One frame or window on its way, and what each stage has made of it so far. One thread's at a time."""

    name: str
    captured_s: float
    capture_ms: float
    frame: Frame | None  # of a picture, as long as somebody may want to look at it again
    turns: dict[str, Turn]  # by stage
    seq: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Switch:
    """From here on this release answers for the stage; None: none does."""

    stage: str
    new: Served | None


class Ended:
    """The source has given all it had."""


def _picked(sample: Sample, channels: tuple[str, ...]) -> tuple[float, ...]:
    """The values of a model's own channels out of those of all models."""
    if not channels or channels == sample.channels:
        return sample.values
    try:
        return tuple(sample.values[sample.channels.index(channel)] for channel in channels)
    except ValueError as error:
        raise FrameError(f"{sample.name} has {', '.join(sample.channels)}; wanted {', '.join(channels)}") from error
