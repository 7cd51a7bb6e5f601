"""The capturing thread: its pace, and what it does when the source gives nothing."""

from collections.abc import Callable
from itertools import pairwise
from threading import Event

from edge_agent.config.sources import FolderSource
from edge_agent.errors import SourceError
from edge_agent.inference.capture import Captured, capture
from edge_agent.inference.frame import Unusable, Wanted
from tests.sim.clock import FakeClock
from tests.sim.source import SimSource


class Told:
    """A `Receiver` that writes down what it is told, and may end the capture."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self.names: list[str] = []
        self.at_s: list[float] = []
        self.bad: list[str] = []
        self.troubles: list[tuple[float, str]] = []
        self.hints: list[str | None] = []
        self.over = False
        self.stopped = Event()
        self.stop_after_troubles = 1_000_000

    def asks_for(self) -> Wanted:
        return Wanted(("x",))

    def received(self, captured: Captured) -> None:
        self.names.append(captured.taken.name)
        self.at_s.append(self._clock.monotonic_s())

    def unusable(self, unusable: Unusable) -> None:
        self.bad.append(unusable.name)

    def trouble(self, error: SourceError) -> None:
        self.troubles.append((self._clock.monotonic_s(), str(error)))
        self.hints.append(error.hint)
        if len(self.troubles) >= self.stop_after_troubles:
            self.stopped.set()

    def ended(self) -> None:
        self.over = True


def run(
    source: Callable[[], SimSource], *, max_fps: float | None = None, repeat: bool = False, troubles: int = 1_000_000
) -> Told:
    clock = FakeClock()
    told = Told(clock)
    told.stop_after_troubles = troubles
    wanted = Event()
    wanted.set()
    config = FolderSource("folder", "/nowhere", repeat=repeat, max_fps=max_fps)  # type: ignore[arg-type]  # only its pace matters
    capture(source, config, told, clock=clock, wanted=wanted, stopped=told.stopped)
    return told


def test_all_is_received_in_order_and_then_the_end() -> None:
    source = SimSource(["a", Unusable("b", "no picture"), "c"])
    told = run(lambda: source)
    assert (told.names, told.bad, told.troubles, told.over) == (["a", "c"], ["b"], [], True)
    assert source.asked_for == [("x",)] * 3


def test_a_pace_is_kept() -> None:
    told = run(lambda: SimSource(["a", "b", "c", "d"]), max_fps=4.0)
    assert told.at_s == [0.0, 0.25, 0.5, 0.75]


def test_a_source_that_gives_nothing_is_opened_again_ever_more_rarely() -> None:
    def missing() -> SimSource:
        raise SourceError("no such folder")

    told = run(missing, troubles=8)
    times_s = [at_s for at_s, _ in told.troubles]
    pauses_s = [after - before for before, after in pairwise(times_s)]
    assert pauses_s == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert set(told.hints) == {"it is tried again by itself"}
    assert not told.over


def test_a_source_that_comes_back_begins_again_and_the_next_trouble_is_met_at_once() -> None:
    unplugged = SourceError("unplugged")
    lives = iter([*[SimSource([unplugged])] * 2, *[SimSource(["a", unplugged])] * 2])
    told = run(lambda: next(lives), repeat=True, troubles=4)
    times_s = [at_s for at_s, _ in told.troubles]
    assert told.names == ["a", "a"]
    assert times_s == [0.0, 1.0, 3.0, 4.0]  # 1 s, 2 s, and 1 s again after a frame


def test_a_file_played_once_that_is_damaged_on_the_way_is_told_and_not_played_again() -> None:
    source = SimSource(["a", "b", SourceError("damaged")])
    told = run(lambda: source)
    assert told.names == ["a", "b"]
    assert [text for _, text in told.troubles] == ["damaged"]
    assert told.hints == [None]  # no word of another try
    assert told.over
    assert source.opened == 1
