"""One stage of a pipeline at work: run the model on what was prepared of a frame, or on crops of another stage's finds.

A stage has a thread of its own, so while one frame is in the second stage the next is in the first one already: stages
side by side share the cores. Which thread calls is left to `pipeline`; what becomes of the answers, to `answers`.
"""

from dataclasses import replace

from edge_agent.clock import Clock
from edge_agent.config.pipeline import Crops
from edge_agent.errors import FrameError, ModelError
from edge_agent.inference.ipc import StageStart
from edge_agent.inference.job import Job, Served, Turn
from edge_agent.tasks.prediction import Prediction
from edge_agent.transform.placement import Box


class Stage:
    """What one stage's thread knows. `name` and `crops_of` as in the configuration."""

    def __init__(self, name: str, start: StageStart, clock: Clock) -> None:
        self.name = name
        self.crops_of = start.crops_of
        self._crops = start.crops
        self._clock = clock
        self._served: Served | None = None  # of a cascade: the others' comes with each job
        self.invoking_since_s: float | None = None

    def switch(self, new: Served | None) -> None:
        self._served = new

    def run(self, job: Job) -> None:
        """Take this stage's turn at a frame. What fails is noted in the turn; nothing is raised."""
        turn = job.turns.get(self.name)
        if self.crops_of is not None:
            turn = self._turn_at_crops(job, self.crops_of)
        if turn is None:
            return
        if turn.began_anew:
            turn.served.model.reset_state()
        began_s = self.invoking_since_s = self._clock.monotonic_s()
        try:
            turn.outputs = [*turn.served.model.invoke_batch(turn.inputs)]
        except ModelError as error:
            turn.failure = error
        self.invoking_since_s = None
        turn.latency_ms["invoke"] = (self._clock.monotonic_s() - began_s) * 1000

    def _turn_at_crops(self, job: Job, other: str) -> Turn | None:
        """Prepare the crops of what the other stage has found; None where that has found nothing to look at."""
        seen = job.turns.get(other)
        if self._served is None or seen is None or job.frame is None:
            return None
        found = decoded(seen, self._clock)
        picked = pick_crops([prediction for each in found for prediction in each], self._crops)
        if not picked:
            return None
        turn = job.turns[self.name] = Turn(self._served, crops_of=other)
        began_s = self._clock.monotonic_s()
        for position, box in picked:
            view = replace(job.frame.view, roi=box)
            try:
                turn.inputs.append(self._served.model.prepare_image(job.frame.picture, view))
            except FrameError:
                continue  # a box of no area, or on the very edge: there is nothing to be seen
            turn.parents.append(position)
        turn.latency_ms["preprocess"] = (self._clock.monotonic_s() - began_s) * 1000
        if not turn.inputs:
            del job.turns[self.name]
            return None
        return turn


def decoded(turn: Turn, clock: Clock) -> list[list[Prediction]]:
    """The predictions of each input, decoded when first asked for; none of a turn that failed."""
    if turn.predictions is None:
        began_s = clock.monotonic_s()
        turn.predictions = []
        if turn.failure is None:
            model = turn.served.model
            try:
                for outputs, prepared in zip(turn.outputs, turn.inputs, strict=True):
                    turn.predictions.append(model.decode(outputs, prepared))
            except ModelError as error:
                turn.failure = error
                turn.predictions = []
        turn.latency_ms["postprocess"] = (clock.monotonic_s() - began_s) * 1000
    return turn.predictions


def pick_crops(predictions: list[Prediction], crops: Crops) -> list[tuple[int, Box]]:
    """Which of the predictions are looked at, and the boxes to look at, px of the picture, the best first."""
    wanted = [
        (position, prediction)
        for position, prediction in enumerate(predictions)
        if prediction.box is not None
        and prediction.score >= crops.min_score
        and (not crops.labels or prediction.label in crops.labels)
    ]
    wanted.sort(key=lambda pair: -pair[1].score)
    return [(position, _widened(found.box, crops)) for position, found in wanted[: crops.at_most] if found.box]


def _widened(box: Box, crops: Crops) -> Box:
    width, height = box.size
    if crops.square:
        width = height = max(width, height)
    half_width, half_height = (size * (0.5 + crops.margin) for size in (width, height))
    x, y = (box.left + box.right) / 2, (box.top + box.bottom) / 2
    return Box(x - half_width, y - half_height, x + half_width, y + half_height)
