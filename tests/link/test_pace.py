"""The cap on what is fetched holds over every window of time, told by a clock that only goes when it is told to."""

from pathlib import Path
from threading import Event, Thread

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.link.download import Download, Subscribe
from edge_agent.link.pace import Pace, paced_step
from edge_agent.release.chunks import CHUNK_BYTES, MAX_PAYLOAD_BYTES, digest_of_chunk
from tests.link.test_device import Device, other_client
from tests.sim.broker import run_mosquitto
from tests.sim.clock import FakeClock
from tests.sim.releases import noise
from tests.sim.waiting import until

RATES = st.sampled_from([2_000.0, 50_000.0, 61_000.0, 200_000.0, 3_000_000.0])


def download_paced(rate: float, sizes: list[int], tick_s: float) -> list[tuple[float, int]]:
    """When each chunk came, and its bytes: at once when it is asked for, as a broker on the loopback sends them."""
    clock = FakeClock()
    pace = Pace(clock, rate)
    left = {f"chunk-{number}": size for number, size in enumerate(sizes)}
    download = Download(left)
    download.connected(0.0)
    came: list[tuple[float, int]] = []
    while left:
        for action in paced_step(download, pace, clock.monotonic_s()):
            if isinstance(action, Subscribe):
                download.granted(action.batch, (None,) * len(action.digests), clock.monotonic_s())
                for digest in action.digests:
                    size_bytes = left.pop(digest)
                    assert download.arrived(digest, clock.monotonic_s())
                    download.taken(digest)
                    pace.came(size_bytes)
                    came.append((clock.monotonic_s(), size_bytes))
        clock.advance(tick_s)
    return came


@settings(max_examples=60, deadline=None)
@given(
    rate=RATES,
    sizes=st.lists(st.sampled_from([100, 9_000, MAX_PAYLOAD_BYTES]), min_size=1, max_size=40),
    tick_s=st.sampled_from([0.01, 0.2, 3.0]),
)
def test_no_window_of_time_sees_more_than_the_cap_and_one_burst(rate: float, sizes: list[int], tick_s: float) -> None:
    came = download_paced(rate, sizes, tick_s)
    burst_bytes = max(rate, MAX_PAYLOAD_BYTES)

    assert len(came) == len(sizes)
    for first in range(len(came)):
        total_bytes = 0
        for at_s, size_bytes in came[first:]:
            total_bytes += size_bytes
            assert total_bytes <= rate * (at_s - came[first][0]) + burst_bytes + 1


def test_a_cap_is_used_up_and_not_only_kept() -> None:
    came = download_paced(200_000, [MAX_PAYLOAD_BYTES] * 50, 0.05)

    assert sum(size for _, size in came) / came[-1][0] > 0.8 * 200_000


def test_without_a_cap_the_window_is_all_that_limits() -> None:
    assert Pace(FakeClock()).take(8) == 8


def test_several_fetches_share_one_cap() -> None:
    clock = FakeClock()
    pace = Pace(clock, 10 * MAX_PAYLOAD_BYTES)

    assert [pace.take(8), pace.take(8), pace.take(8)] == [8, 2, 0]
    clock.advance(0.5)
    assert pace.take(8) == 5


def test_what_was_smaller_than_it_might_have_been_is_given_back() -> None:
    pace = Pace(FakeClock(), MAX_PAYLOAD_BYTES)

    assert [pace.take(1), pace.take(1)] == [1, 0]
    pace.came(0)
    assert pace.take(1) == 1
    pace.not_asked(1)
    pace.not_asked(1)  # never more than a burst
    assert pace.take(8) == 1


@pytest.mark.system
def test_a_capped_device_on_a_real_broker_asks_for_no_more_than_its_clock_allows(tmp_path: Path) -> None:
    chunks = {digest_of_chunk(chunk): chunk for chunk in (noise(CHUNK_BYTES, str(number)) for number in range(6))}
    clock = FakeClock()
    with run_mosquitto(tmp_path) as broker, other_client(broker.settings) as other:
        other.publish_chunks(chunks)
        device = Device(broker.settings)
        device.link._pace = Pace(clock, 2 * MAX_PAYLOAD_BYTES)
        with device.link:
            stop = Event()
            fetching = Thread(
                target=device.link.collect,
                args=(list(chunks), device.taken.__setitem__),
                kwargs={"cancelled": stop.is_set, "trouble": lambda reason, detail: None},
            )
            fetching.start()
            for expected in (2, 4, 6):  # a second's worth at a time, and no more until the clock goes on
                until(lambda count=expected: len(device.taken) >= count)  # type: ignore[misc]  # bound now
                assert len(device.taken) == expected
                clock.advance(1.0)
            stop.set()
            fetching.join(30)
    assert device.taken == chunks
