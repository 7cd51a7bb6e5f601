"""What is told of a sink that cannot write."""

from dataclasses import dataclass

from edge_agent.inference.ipc import Result
from edge_agent.inference.sinks.trouble import SinkTrouble
from tests.sim.clock import FakeClock


@dataclass
class Sickly:
    """A sink that says of itself what the test says."""

    dropped: int = 0
    problem: str | None = None

    def take(self, result: Result) -> None: ...
    def flush(self) -> None: ...
    def close(self) -> None: ...


def test_what_is_told_says_what_it_has_cost() -> None:
    sink = Sickly()
    trouble = SinkTrouble(sink, FakeClock())
    assert trouble.now() is None
    sink.problem = "no answer in time"  # and it is tried again
    assert trouble.now() == "no answer in time; no result is lost yet"
    sink.dropped = 1
    assert trouble.now() == "no answer in time; 1 result lost so far"
    sink.dropped = 7
    assert trouble.now() == "no answer in time; 7 results lost so far"


def test_a_link_that_comes_and_goes_is_one_piece_of_news_in_ten_minutes() -> None:
    sink, clock = Sickly(), FakeClock()
    trouble = SinkTrouble(sink, clock)
    told = []
    for second in range(1200):
        sink.problem = "the link is down" if second % 2 else None
        told.append(trouble.news())
        clock.advance(1.0)
    assert [second for second, news in enumerate(told) if news is not None] == [1, 601]
