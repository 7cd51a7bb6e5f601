"""When a trigger fires: a pure state machine over results. Doing something, and cooling down, is left to `triggers`.

Time is whatever clock the caller has, as long as it never jumps: the supervisor gives the monotonic time at which a
result arrived, not the result's own `captured_s`, because wall time jumps by decades when a Pi without a clock battery
hears of the network's. Results arrive in order and a few milliseconds after their frames.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from edge_agent.config.sinks import When
from edge_agent.inference.ipc import Result

Tree = Mapping[str, Any]  # a prediction as JSON


class OneOfStages(Protocol):
    """A stage of a pipeline, as far as this looks at it."""

    @property
    def crops_of(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Holds:
    """The condition has held for long enough."""

    held_s: float
    matches: tuple[Tree, ...]  # what it is about, each with its `stage`; of `absent`, the few there are


class Condition:
    """One `when`. `root`: the stage without whose answer a result says nothing about it (`root_of`).

    It holds in a result that has `at_least` matching predictions (`absent`: that has fewer). It has held since the
    first such result, through contrary ones for `gap_s` from the first of them to the next that holds. That no results
    come is no interruption, a slow source being what it is; where it is one, `interrupt` says so.
    """

    def __init__(self, when: When, root: str | None = None) -> None:
        self._when = when
        self._root = root
        self._since_s: float | None = None
        self._contrary_s: float | None = None  # the first contrary result after the last that held

    def see(self, result: Result, now_s: float) -> Holds | None:
        """Gives something as often as it holds long enough."""
        if self._root is not None and self._root not in result.answers:
            return None
        matches = tuple(find(self._when, result))
        if (len(matches) >= self._when.at_least) == self._when.absent:
            self._contrary_s = now_s if self._contrary_s is None else self._contrary_s
            return None
        broken = self._contrary_s is not None and now_s - self._contrary_s > self._when.gap_s
        if self._since_s is None or broken:
            self._since_s = now_s
        self._contrary_s = None
        held_s = now_s - self._since_s
        return Holds(held_s, matches) if held_s >= self._when.for_s else None

    def interrupt(self) -> None:
        """What comes from here on has nothing to do with what came before."""
        self._since_s = self._contrary_s = None


def root_of(stage: str | None, stages: Mapping[str, OneOfStages]) -> str | None:
    """The stage that sees whole frames, at the beginning of the cascade that `stage` ends.

    Where that has answered, and a stage that sees crops has not, then because there was nothing to be seen.
    """
    while stage is not None and (config := stages.get(stage)) is not None and config.crops_of is not None:
        stage = config.crops_of
    return stage


def find(when: When, result: Result) -> Iterator[Tree]:
    """The predictions that match all but time and number, each with its `stage`."""
    for stage, prediction, box in _all(result):
        if when.stage in (None, stage) and _matches(when, prediction, box):
            yield {"stage": stage, **prediction}


def _matches(when: When, prediction: Tree, box: Sequence[float] | None) -> bool:
    if when.labels and prediction.get("label") not in when.labels:
        return False
    if when.min_score is not None and not prediction.get("score", 0.0) >= when.min_score:
        return False
    if when.roi is not None and not _lies_in(when.roi, box):
        return False
    return _is_between(prediction.get("value"), when.above, when.below)


def _is_between(value: float | None, above: float | None, below: float | None) -> bool:
    if above is None and below is None:
        return True
    return value is not None and (above is None or value > above) and (below is None or value < below)


def _lies_in(zone: tuple[float, float, float, float], box: Sequence[float] | None) -> bool:
    """Whether the middle of the box does. What has no box lies nowhere."""
    if box is None:
        return False
    left, top, right, bottom = zone
    return left <= (box[0] + box[2]) / 2 < right and top <= (box[1] + box[3]) / 2 < bottom


def _all(result: Result) -> Iterator[tuple[str, Tree, Sequence[float] | None]]:
    """Stage, prediction and box of all there is, each once. What is said of a crop lies where the crop lies."""
    inner = set(_inner_stages(answer.results for answer in result.answers.values()))
    for name, answer in result.answers.items():
        if name not in inner:  # else it is found under the predictions that it is about
            yield from _walk(name, answer.results, None)


def _inner_stages(results: Iterator[Sequence[Tree]]) -> Iterator[str]:
    for predictions in results:
        for prediction in predictions:
            yield from prediction.get("stages") or ()


def _walk(
    stage: str, predictions: Sequence[Tree], parent: Sequence[float] | None
) -> Iterator[tuple[str, Tree, Sequence[float] | None]]:
    for prediction in predictions:
        box = prediction.get("box") or parent
        yield stage, prediction, box
        for name, inner in (prediction.get("stages") or {}).items():
            yield from _walk(name, inner, box)
