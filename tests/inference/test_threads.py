"""How many threads a model gets: with a fake engine on a fake clock."""

from threading import Event

import numpy as np
import pytest

from edge_agent.errors import ModelError, Reason
from edge_agent.inference.threads import candidates, choose, measure, usable_cores
from edge_agent.transform.tensor import Array, TensorSpec
from tests.sim.engine import FakeEngine

TENSOR = TensorSpec("x", (1,), np.dtype(np.float32))


class ModelClock:
    """Time passes only while a model runs or somebody waits."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waited_s: list[float] = []

    def now_s(self) -> float:
        return self.now

    def monotonic_s(self) -> float:
        return self.now

    def wait(self, event: Event, timeout_s: float) -> bool:
        self.now += timeout_s
        self.waited_s.append(timeout_s)
        return event.is_set()


class Models:
    """Loads engines that take as long as `ms` says, by threads, and remembers what was open together."""

    def __init__(self, ms: dict[int, float]) -> None:
        self.ms = ms
        self.clock = ModelClock()
        self.loaded: list[int] = []
        self.open: list[FakeEngine] = []
        self.most_open = 0

    def load(self, threads: int) -> FakeEngine:
        def answer(inputs: object) -> list[Array]:
            self.clock.now += self.ms[threads] / 1000
            return [np.zeros(1, np.float32)]

        engine = FakeEngine([TENSOR], [TENSOR], answer)
        self.loaded.append(threads)
        self.open = [one for one in self.open if not one.closed] + [engine]
        self.most_open = max(self.most_open, len(self.open))
        return engine


@pytest.mark.parametrize(
    ("ms", "chosen"),
    [
        ({1: 7.5, 2: 7.5, 4: 7.6}, 1),
        ({1: 7.5, 2: 7.0, 4: 6.9}, 1),  # within 10 % of the best
        ({1: 100.0, 2: 55.0, 4: 52.0}, 2),
        ({1: 100.0, 2: 55.0, 4: 30.0}, 4),
        ({1: 3.0, 2: 9.0, 4: 1.0}, 1),  # the last is not tried any more
    ],
)
def test_the_fewest_threads_that_come_near_the_best_are_taken(ms: dict[int, float], chosen: int) -> None:
    models = Models(ms)
    figures = measure(models.load, 4, models.clock)
    assert choose(figures.p50_ms) == chosen
    assert figures.p50_ms == {threads: pytest.approx(ms[threads]) for threads in models.loaded}
    assert models.loaded in ([1, 2, 4, 4, 2, 1], [1, 2, 2, 1]), "there and back again"
    assert models.most_open == 1, "one after the other: memory is short"
    assert models.open[0].closed
    assert models.clock.now < 1.0, "it does not keep a pipeline waiting"


def test_invokes_are_begun_no_faster_than_a_camera_gives_pictures() -> None:
    models = Models({1: 8.0})
    measure(models.load, 1, models.clock)
    assert models.clock.waited_s[0] == pytest.approx(1 / 30 - 0.008)
    slow = Models({1: 50.0})
    measure(slow.load, 1, slow.clock)
    assert slow.clock.waited_s == [], "a slow model runs back to back, as it would behind a camera"


def test_a_machine_that_is_busy_for_a_while_does_not_count_against_one_number_alone() -> None:
    models = Models({1: 7.0, 2: 7.0})
    loads = 0

    def load(threads: int) -> FakeEngine:
        nonlocal loads
        loads += 1
        models.ms = {1: 12.0, 2: 12.0} if loads <= 1 else {1: 7.0, 2: 7.0}  # busy at the first
        return models.load(threads)

    figures = measure(load, 2, models.clock)
    assert figures.p50_ms[1] < 12.0
    assert figures.p50_ms[2] == pytest.approx(7.0)


def test_a_slow_model_is_run_a_few_times_only() -> None:
    models = Models({1: 2000.0, 2: 1500.0, 4: 1000.0})
    figures = measure(models.load, 4, models.clock)
    assert choose(figures.p50_ms) == 4
    assert models.clock.now == pytest.approx(2 * (2.0 + 1.5 + 1.0))  # each twice: warming up, and measured


def test_a_model_that_cannot_be_loaded_is_not_measured() -> None:
    def fail(threads: int) -> FakeEngine:
        raise ModelError("damaged", reason=Reason.NOT_A_MODEL)

    with pytest.raises(ModelError, match="damaged"):
        measure(fail, 2, ModelClock())


def test_numbers_of_threads_double_up_to_the_cores() -> None:
    assert [candidates(cores) for cores in (1, 2, 3, 4, 6)] == [[1], [1, 2], [1, 2, 3], [1, 2, 4], [1, 2, 4, 6]]
    assert usable_cores(1) == 1
    assert usable_cores() >= 1
    assert usable_cores(1000) == usable_cores()
