"""Which results are sent: each one, or only what differs from the last one sent; never more often than allowed."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from edge_agent.clock import Clock
from edge_agent.inference.ipc import Answer, Result

_OBJECTS = ("detection", "pose")  # any number of them, in no order that means something
_VALUES = ("regression", "raw")  # told apart by their values, not by their names

Tree = Mapping[str, Any]


class Gate:
    """Lets results through to `send`, which says whether it took one.

    A change that comes too soon, or that `send` did not take, is not lost: the result then differs from what was sent
    last, so the next one after `min_interval_s` goes out; `flush` sends the last one when no more will come.
    """

    def __init__(
        self,
        when: Literal["changed", "always"],
        min_interval_s: float,
        clock: Clock,
        send: Callable[[Result], bool],
    ) -> None:
        self._when = when
        self._min_interval_s = min_interval_s
        self._clock = clock
        self._send = send
        self._sent: object = None  # the gist of what was sent last
        self._sent_s: float | None = None
        self._held: Result | None = None

    def take(self, result: Result) -> None:
        if self._when == "changed" and gist(result) == self._sent:
            self._held = None
            return
        now_s = self._clock.monotonic_s()
        if self._sent_s is not None and now_s - self._sent_s < self._min_interval_s:
            self._held = result
            return
        self._let_through(result, now_s)

    def flush(self) -> None:
        """The source has ended: send what was held back."""
        if self._held is not None:
            self._let_through(self._held, self._clock.monotonic_s())

    def _let_through(self, result: Result, now_s: float) -> None:
        self._sent_s, self._held = now_s, None
        if self._send(result):
            self._sent = gist(result)


def gist(result: Result) -> object:
    """What has to differ for a result to count as changed, of each stage.

    The best label; of objects (detection, pose) the set of labels; of plain values, all of them. What a stage says of
    crops belongs to the object that the crop is of.
    """
    inner = {name for answer in result.answers.values() for each in answer.results for name in each.get("stages") or ()}  # type: ignore[attr-defined]  # trees are JSON: `stages` is an object
    return [
        (name, answer.task, _gist(answer.task, answer.results, result.answers))
        for name, answer in result.answers.items()
        if name not in inner
    ]


def _gist(task: str, predictions: Sequence[Tree], answers: Mapping[str, Answer]) -> object:
    if task in _VALUES:
        return tuple((each.get("label"), each.get("value")) for each in predictions)
    found = [(_label(each), _of_crop(each, answers)) for each in predictions]
    return frozenset(found) if task in _OBJECTS else tuple(found[:1])


def _of_crop(prediction: Tree, answers: Mapping[str, Answer]) -> object:
    stages: Mapping[str, Sequence[Tree]] = prediction.get("stages") or {}
    return tuple(
        (name, _gist(answers[name].task, predictions, answers))
        for name, predictions in stages.items()
        if name in answers
    )


def _label(prediction: Tree) -> object:
    label = prediction.get("label")
    return label if label is not None else (prediction.get("index"), prediction.get("value"))
