"""What the tests of row sources share: taking several rows, and looking at them."""

from edge_agent.clock import SystemClock
from edge_agent.config.sources import SourceConfig
from edge_agent.inference.frame import Nothing, Sample, Taken, Unusable, Wanted
from edge_agent.inference.sources.source import Source, new_source
from tests.sim.clock import FakeClock

Item = Taken | Unusable
WAIT_S = 20.0


def open_source(config: SourceConfig) -> Source:
    return new_source(config, FakeClock())


def take_all(source: Source, channels: tuple[str, ...] = (), *, at_most: int = 100_000) -> list[Item]:
    """At most so many items, to the end of the source; it must not keep us waiting for longer than `WAIT_S`."""
    items: list[Item] = []
    clock = SystemClock()
    deadline_s = clock.monotonic_s() + WAIT_S
    while len(items) < at_most and (item := source.take(Wanted(channels))) is not None:
        if isinstance(item, Nothing):
            assert clock.monotonic_s() < deadline_s, f"nothing has come behind {items}"
        else:
            items.append(item)
    return items


def values(items: list[Item]) -> list[tuple[float, ...]]:
    return [item.values for item in items if isinstance(item, Sample)]


def unusable(items: list[Item]) -> list[str]:
    return [item.detail for item in items if isinstance(item, Unusable)]


def gaps(items: list[Item]) -> list[bool]:
    return [item.after_gap for item in items if isinstance(item, Sample)]
