"""What the download asks for and when it gives up hope, decided without a network."""

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.errors import Reason
from edge_agent.link.download import (
    BARRIER_AFTER_S,
    GRACE_S,
    STALL_S,
    Action,
    Barrier,
    Download,
    Need,
    Reconnect,
    Subscribe,
    Trouble,
    Unsubscribe,
)

NAMES = tuple(f"chunk-{number}" for number in range(20))


def begin(count: int, *, patient: bool = True) -> Download:
    """A connected download whose random waits are always the longest ones."""
    download = Download(NAMES[:count], patient=patient, uniform=lambda _low, high: high)
    download.connected(0.0)
    return download


def of(kind: type[Action], actions: list[Action]) -> list[Action]:
    return [action for action in actions if isinstance(action, kind)]


def bar(download: Download, batch: int, digests: int, now_s: float) -> None:
    """The batch is granted, its barrier sent and back."""
    download.granted(batch, (None,) * digests, now_s)
    assert download.step(now_s + BARRIER_AFTER_S) == [Barrier(batch)]
    download.echoed(batch, now_s + BARRIER_AFTER_S)


def test_nothing_is_asked_while_there_is_no_connection() -> None:
    download = Download(NAMES)
    assert download.step(0.0) == []
    download.connected(1.0)
    assert download.step(1.0) == [Subscribe(1, NAMES[:8])]
    download.disconnected()
    assert download.step(2.0) == []


def test_more_is_asked_when_two_places_of_the_window_are_free() -> None:
    download = begin(20)
    assert download.step(0.0) == [Subscribe(1, NAMES[:8])]
    assert download.arrived(NAMES[0], 0.0)
    download.taken(NAMES[0])
    assert download.step(0.0) == []
    assert download.arrived(NAMES[1], 0.0)
    download.taken(NAMES[1])
    assert download.step(0.0) == [Unsubscribe(NAMES[:2]), Subscribe(2, NAMES[8:10])]


def test_a_window_of_one_chunk_goes_on_too() -> None:
    download = begin(2)
    download.window = 1
    assert download.step(0.0) == [Subscribe(1, NAMES[:1])]
    assert download.arrived(NAMES[0], 0.0)
    download.taken(NAMES[0])
    assert download.step(0.0) == [Unsubscribe(NAMES[:1]), Subscribe(2, NAMES[1:2])]


def test_a_batch_that_is_complete_in_time_costs_no_barrier() -> None:
    download = begin(2)
    download.step(0.0)
    download.granted(1, (None, None), 0.0)
    for name in NAMES[:2]:
        download.arrived(name, 0.0)
        download.taken(name)
    assert of(Barrier, download.step(BARRIER_AFTER_S)) == []
    assert download.finished


def test_a_chunk_that_is_not_there_after_the_barrier_and_grace_is_needed_and_stays_subscribed() -> None:
    download = begin(1)
    download.step(0.0)
    bar(download, 1, 1, 0.0)
    assert download.step(BARRIER_AFTER_S + GRACE_S - 0.01) == []
    trouble, need = download.step(BARRIER_AFTER_S + GRACE_S)
    assert isinstance(trouble, Trouble)
    assert trouble.reason is Reason.MISSING_CHUNK
    assert need == Need(NAMES[:1])
    assert download.remaining == {NAMES[0]}
    assert download.arrived(NAMES[0], 2.0)  # published after all: no new question was needed
    download.taken(NAMES[0])
    assert download.step(2.0) == [Unsubscribe(NAMES[:1])]
    assert download.finished
    assert download.leave() == ()


def test_what_is_absent_is_asked_for_again_later_and_later_by_a_new_subscription() -> None:
    download, now_s, waits = begin(1), 0.0, []
    download.step(now_s)
    for batch in range(1, 8):
        bar(download, batch, 1, now_s)
        lost_s = now_s + BARRIER_AFTER_S + GRACE_S
        download.step(lost_s)
        wake_s = download.wake_s()
        assert wake_s is not None
        assert download.step(wake_s) == [Unsubscribe(NAMES[:1]), Subscribe(batch + 1, NAMES[:1])]
        waits.append(wake_s - lost_s)
        now_s = wake_s
    assert [round(wait, 3) for wait in waits] == [2.5, 5, 10, 20, 40, 60, 60]


def test_when_one_absent_chunk_comes_the_others_are_asked_for_at_once() -> None:
    download = begin(3)
    download.step(0.0)
    bar(download, 1, 3, 0.0)
    download.step(2.0)
    download.arrived(NAMES[0], 2.1)
    download.taken(NAMES[0])
    actions = download.step(2.1)
    assert of(Subscribe, actions) == [Subscribe(2, NAMES[1:3])]


def test_absent_chunks_give_their_place_to_those_not_yet_asked_for() -> None:
    download = begin(20)
    download.step(0.0)
    bar(download, 1, 8, 0.0)
    actions = download.step(BARRIER_AFTER_S + GRACE_S)
    assert of(Subscribe, actions) == [Subscribe(2, NAMES[8:16])]
    assert of(Unsubscribe, actions)


def test_a_corrupt_chunk_is_trouble_and_stays_wanted() -> None:
    download = begin(1)
    download.step(0.0)
    assert download.arrived(NAMES[0], 0.0)
    download.spoilt(NAMES[0], Reason.CORRUPT_CHUNK, "bad", 0.0)
    assert download.step(0.0) == [Trouble(Reason.CORRUPT_CHUNK, "bad"), Need(NAMES[:1])]
    assert download.wants(NAMES[0])
    assert download.arrived(NAMES[0], 1.0)


def test_refused_subscriptions_are_told_and_tried_again_later() -> None:
    download = begin(2)
    download.step(0.0)
    download.granted(1, ("not authorized", None), 0.0)
    first = download.step(0.0)
    assert "not authorized" in next(action.detail for action in first if isinstance(action, Trouble))
    download.arrived(NAMES[1], 0.0)
    download.taken(NAMES[1])
    wake_s = download.wake_s()
    assert wake_s is not None
    assert of(Subscribe, download.step(2.5)) == [Subscribe(2, NAMES[:1])]


def test_a_broker_that_answers_nothing_is_left() -> None:
    download = begin(1)
    download.step(0.0)
    assert download.step(STALL_S - 1) == []
    assert download.step(STALL_S) == [Reconnect()]
    download.connected(STALL_S + 1)
    assert download.step(STALL_S + 1) == [Subscribe(2, NAMES[:1])]


def test_a_chunk_that_came_for_somebody_else_before_it_was_asked_for_is_not_asked_for() -> None:
    download = begin(9)
    download.step(0.0)
    assert download.arrived(NAMES[8], 0.0)
    download.taken(NAMES[8])
    for name in NAMES[:8]:
        download.arrived(name, 0.0)
        download.taken(name)
    assert of(Subscribe, download.step(0.0)) == []
    assert download.finished


def test_an_impatient_download_ends_with_what_is_absent() -> None:
    download = begin(3, patient=False)
    download.step(0.0)
    download.granted(1, (None,) * 3, 0.0)
    assert download.step(0.0) == [Barrier(1)]
    download.arrived(NAMES[1], 0.0)
    download.taken(NAMES[1])
    download.echoed(1, 0.0)
    download.step(GRACE_S)
    assert download.finished
    assert download.remaining == {NAMES[0], NAMES[2]}


@dataclass
class SloppyBroker:
    """Keeps the promises of MQTT and no others: loses QoS 0 messages, cuts the line, has chunks late or spoilt."""

    download: Download
    decide: st.DataObject
    now_s: float = 0.0
    subscribed: set[str] = field(default_factory=set)
    taken: list[str] = field(default_factory=list)
    most_subscribed: int = 0
    kind: bool = False  # from now on everything goes well

    def chance(self, label: str) -> bool:
        return not self.kind and self.decide.draw(st.booleans(), label=label)

    def act(self, action: Action) -> None:
        match action:
            case Subscribe(batch, digests):
                self.subscribed.update(digests)
                self.most_subscribed = max(self.most_subscribed, len(self.subscribed))
                self.download.granted(batch, (None,) * len(digests), self.now_s)
                for digest in digests:
                    if not self.chance("lost"):
                        self.deliver(digest)
            case Unsubscribe(digests):
                self.subscribed.difference_update(digests)
            case Barrier(batch):
                self.download.echoed(batch, self.now_s)
            case Reconnect():
                self.cut()
            case _:
                pass

    def deliver(self, digest: str) -> None:
        if not self.download.arrived(digest, self.now_s):
            return
        if self.chance("spoilt"):
            self.download.spoilt(digest, Reason.CORRUPT_CHUNK, "spoilt", self.now_s)
        else:
            self.taken.append(digest)
            self.download.taken(digest)

    def cut(self) -> None:
        self.subscribed.clear()
        self.download.disconnected()
        self.download.connected(self.now_s)

    def run(self, steps: int) -> None:
        for _ in range(steps):
            for action in self.download.step(self.now_s):
                self.act(action)
            if self.chance("cut"):
                self.cut()
            if self.download.finished:
                return
            wake_s = self.download.wake_s()
            self.now_s = max(self.now_s, wake_s) if wake_s is not None else self.now_s + 1


@settings(max_examples=60, deadline=None)
@given(decide=st.data(), count=st.integers(1, 20), window=st.integers(1, 12))
def test_whatever_is_lost_every_chunk_is_taken_once_and_the_window_is_never_exceeded(
    decide: st.DataObject, count: int, window: int
) -> None:
    download = Download(NAMES[:count], uniform=lambda low, high: decide.draw(st.sampled_from([low, high])))
    download.window = window
    download.connected(0.0)
    broker = SloppyBroker(download, decide)
    broker.run(8)
    broker.kind = True
    broker.run(500)
    assert download.finished
    assert sorted(broker.taken) == sorted(NAMES[:count])
    assert broker.most_subscribed <= window
