"""Every frame is answered once, in its order, or counted as dropped: whatever a busy machine cannot keep up with."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise

from converter.broker import Broker
from edge_agent.link.messages import parse_telemetry
from edge_agent.link.topics import Topics
from tests.sim.broker import Mosquitto

_TOPICS = Topics()
_WAIT_S = 30.0


class Dropped:
    """What a device has said of frames that it dropped, since it was listened to."""

    def __init__(self, client: Broker, pipeline: str) -> None:
        self._client = client
        self._pipeline = pipeline

    def count(self) -> int:
        """All of them up to now; waits for the telemetry of what has just been."""
        events = []
        while (event := self._client.next_event(0)) is not None:
            events.append(event)
        for _ in range(2):
            event = self._client.next_event(_WAIT_S)
            assert event is not None, "the device sends no telemetry"
            events.append(event)
        told = [parse_telemetry(event.payload).pipelines[self._pipeline].frames for event in events]
        return sum(frames.get("dropped", 0) for frames in told)


@contextmanager
def dropped_frames(broker: Mosquitto, device: str, pipeline: str) -> Iterator[Dropped]:
    with Broker(broker.settings, _TOPICS) as client:
        client.listen([_TOPICS.telemetry(device)])
        yield Dropped(client, pipeline)


def missing_frames(inputs: Sequence[str], everything: Sequence[str]) -> int:
    """How many frames of a source that repeats `everything` were passed over; one answered twice is a failure."""
    places = [everything.index(name) for name in inputs]
    steps = [(after - before) % len(everything) for before, after in pairwise(places)]
    assert 0 not in steps, "a frame was answered twice"
    return sum(step - 1 for step in steps)
