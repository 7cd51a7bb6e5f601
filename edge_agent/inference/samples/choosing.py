"""Which results are worth a sample. Pure, but for the dice; keeping it is left to `keeper`."""

import random
from collections.abc import Callable

from edge_agent.clock import Clock
from edge_agent.config.sinks import SamplesSink as SamplesConfig
from edge_agent.inference.ipc import Answer, Result
from edge_agent.inference.triggers.condition import Condition


class Choice:
    """What `when` lets through, and of that a random share and whatever the model is not sure of; not too often.

    `stage` is the one whose answers are judged; `root`, see `condition.Condition`.
    """

    def __init__(
        self,
        config: SamplesConfig,
        stage: str,
        root: str | None,
        clock: Clock,
        *,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._stage = stage
        self._when = Condition(config.when, root) if config.when is not None else None
        self._below = config.score_below
        usual = 1.0 if config.score_below is None else 0.0
        self._share = usual if config.share is None else config.share
        self._interval_s = config.min_interval_s
        self._clock = clock
        self._draw = draw  # 0 to 1, without 1
        self._taken_s: float | None = None

    def takes(self, result: Result) -> bool:
        """Ask of every result, in order: a condition may have to hold for a while."""
        now_s = self._clock.monotonic_s()
        holds = self._when is None or self._when.see(result, now_s) is not None
        answer = result.answers.get(self._stage)
        if not holds or answer is None:
            return False
        if self._taken_s is not None and now_s - self._taken_s < self._interval_s:
            return False
        if not (self._draw() < self._share or (self._below is not None and best_score(answer) < self._below)):
            return False
        self._taken_s = now_s
        return True


def best_score(answer: Answer) -> float:
    """Of its predictions; 0 where nothing was found."""
    scores = [score for each in answer.results if isinstance(score := each.get("score"), int | float)]
    return max(scores, default=0.0)
