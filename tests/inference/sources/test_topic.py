"""An MQTT topic as a source: what becomes of its messages in the worker, wherever they come from."""

import json
from threading import Semaphore, Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.config.row_sources import TopicSource
from edge_agent.errors import SourceError
from edge_agent.inference.frame import Nothing, Sample, Unusable, Wanted
from edge_agent.inference.ipc import Feed, FeedTrouble, format_line, parse_order
from edge_agent.inference.sources.mailbox import Mailbox
from edge_agent.inference.sources.source import Source, new_source
from tests.inference.sources.rows import (
    WAIT_S,
    gaps,
    open_source,
    take_all,
    unusable,
    values,
)
from tests.sim.clock import FakeClock

OFFICE = TopicSource("topic", "zigbee2mqtt/office")
# As Zigbee2MQTT publishes a climate sensor (https://www.zigbee2mqtt.io/guide/usage/mqtt_topics_and_messages.html).
CLIMATE = '{"battery":87,"humidity":44.1,"last_seen":"2026-01-01T10:00:00Z","linkquality":120,"temperature":21.5}'


class Post:
    """The worker's listening side: a mailbox, the source on it, and the clock both go by."""

    def __init__(self, config: TopicSource = OFFICE) -> None:
        self.clock = FakeClock()
        self.mailbox = Mailbox(self.clock)
        self.source: Source = new_source(config, self.clock, self.mailbox)
        self._topic = config.topic

    def feed(self, *payloads: object, topic: str | None = None, retained: bool = False, lost: int = 0) -> None:
        for payload in payloads:
            text = payload if isinstance(payload, str) else json.dumps(payload)
            order = Feed(topic or self._topic, text, retained, lost)
            self.mailbox.feed(order)


def test_a_message_is_a_row_of_the_columns_that_are_wanted() -> None:
    post = Post()
    post.feed(CLIMATE, '{"temperature": 22, "humidity": 43}')
    with post.source as source:
        items = take_all(source, ("temperature", "humidity"), at_most=2)
    assert values(items) == [(21.5, 44.1), (22.0, 43.0)]
    assert gaps(items) == [True, False]
    assert [item.name for item in items] == ["zigbee2mqtt/office:1", "zigbee2mqtt/office:2"]


def test_fields_are_paths_into_the_message_and_columns_may_be_too() -> None:
    fields = {"temperature": "climate.temp", "first": "list.0"}
    message = {"climate": {"temp": 21, "rh": 40}, "list": [7, 8]}
    for config, wanted, row in (
        (TopicSource("topic", "t", fields=fields), ("first", "temperature"), (7.0, 21.0)),
        (TopicSource("topic", "t", fields=fields), (), (21.0, 7.0)),
        (TopicSource("topic", "t", columns=("climate.rh", "list.1")), ("x", "y"), (40.0, 8.0)),
    ):
        post = Post(config)
        post.feed(message)
        with post.source as source:
            assert take_all(source, wanted, at_most=1) == [
                Sample("t:1", post.clock.now_s(), wanted, row, after_gap=True)
            ]


@pytest.mark.parametrize("payload", ["21.5", "[21.5]", '{"value": 21.5}'])
def test_a_topic_with_a_single_number_is_a_row_of_one(payload: str) -> None:
    post = Post()
    post.feed(payload)
    with post.source as source:
        assert values(take_all(source, at_most=1)) == [(21.5,)]


@pytest.mark.parametrize("payload", ["ON", '"on"', "null", "{broken", "\ufffd\ufffd", "\ud800", "x" * 70_000, "{}"])
def test_a_message_that_is_no_row_is_told_and_the_next_one_is_read(payload: str) -> None:
    post = Post()
    post.feed(payload, [1])
    with post.source as source:
        items = take_all(source, at_most=2)
    assert [type(item) for item in items] == [Unusable, Sample]
    assert len(unusable(items)[0]) < 200


def test_a_cleared_topic_is_no_message() -> None:
    post = Post()
    post.feed("", [1])
    with post.source as source:
        assert values(take_all(source, at_most=1)) == [(1.0,)]


# --- time ---------------------------------------------------------------------------------------------------


def test_a_row_has_the_time_it_came_and_a_long_silence_is_a_gap() -> None:
    post = Post(TopicSource("topic", "t", max_gap_s=60))
    came_s = []
    for passed_s in (0, 60, 61):
        post.clock.advance(passed_s)
        came_s.append(post.clock.now_s())
        post.feed([1])
    with post.source as source:
        items = take_all(source, at_most=3)
    assert gaps(items) == [True, False, True]
    assert [item.captured_s for item in items if isinstance(item, Sample)] == came_s


def test_silence_is_told_as_trouble_with_what_shows_the_topic() -> None:
    post = Post(TopicSource("topic", "zigbee2mqtt/+", timeout_s=0.02))
    with post.source as source, pytest.raises(SourceError, match=r"no message of the topic .* for 0\.02 s") as caught:
        source.take(Wanted())
    assert "mosquitto_sub -v -t 'zigbee2mqtt/+'" in str(caught.value.hint)


def test_a_topic_that_is_silent_gives_nothing_for_now_and_no_fault() -> None:
    with Post().source as source:
        assert source.take(Wanted()) == Nothing()


# --- retained, lost, and troubled ---------------------------------------------------------------------------


def test_what_the_broker_has_kept_is_a_row_that_shares_a_window_with_no_other() -> None:
    post = Post()
    post.feed([1], retained=True)
    post.feed([2], [3])
    with post.source as source:
        items = take_all(source, at_most=3)
    assert (values(items), gaps(items)) == ([(1.0,), (2.0,), (3.0,)], [True, True, False])


def test_a_connection_that_brings_the_kept_message_again_brings_no_news() -> None:
    post = Post()
    post.feed([1])
    post.feed([1], retained=True)
    post.feed([2])
    post.feed([3], retained=True)  # published while nobody listened
    with post.source as source:
        items = take_all(source, at_most=3)
    assert (values(items), gaps(items)) == ([(1.0,), (2.0,), (3.0,)], [True, False, True])


def test_a_worker_that_does_not_keep_up_loses_the_oldest_and_knows_of_the_gap() -> None:
    post = Post()
    with post.source as source:
        post.feed([0])
        first = take_all(source, at_most=1)
        post.feed(*([number] for number in range(1, 101)))
        rest = take_all(source, at_most=64)
    assert gaps(first) == [True]
    assert values(rest) == [(float(number),) for number in range(37, 101)]
    assert gaps(rest) == [True, *[False] * 63]


def test_messages_that_were_not_handed_over_are_a_gap() -> None:
    post = Post()
    post.feed([1], [2])
    post.feed([3], lost=5)
    with post.source as source:
        assert gaps(take_all(source, at_most=3)) == [True, False, True]


def test_trouble_comes_in_its_turn_and_the_source_goes_on_behind_it() -> None:
    post = Post()
    post.feed([1])
    for attempt in (1, 2, 3):
        post.mailbox.feed(FeedTrouble(f"cannot reach the broker, attempt {attempt}", "is it running?"))
    post.feed([2])
    with post.source as source:
        assert values(take_all(source, at_most=1)) == [(1.0,)]
        with pytest.raises(SourceError, match="attempt 3") as caught:
            source.take(Wanted())
    assert caught.value.hint == "is it running?"
    with new_source(OFFICE, post.clock, post.mailbox) as again:
        items = take_all(again, at_most=1)
    assert (values(items), gaps(items)) == ([(2.0,)], [True])


# --- wildcards ----------------------------------------------------------------------------------------------


def test_rows_of_different_topics_never_share_a_window() -> None:
    post = Post(TopicSource("topic", "zigbee2mqtt/+"))
    for room, payload in (("a", [1]), ("a", [2]), ("b", [3]), ("a", [4]), ("a", [5])):
        post.feed(payload, topic=f"zigbee2mqtt/{room}")
    with post.source as source:
        assert gaps(take_all(source, at_most=5)) == [True, False, True, True, False]


def test_a_value_is_held_for_its_own_topic() -> None:
    post = Post(TopicSource("topic", "z/+", missing="hold"))
    for room, payload in (("a", {"t": 1, "h": 2}), ("a", {"t": 3}), ("b", {"t": 4})):
        post.feed(payload, topic=f"z/{room}")
    with post.source as source:
        items = take_all(source, ("t", "h"), at_most=3)
    assert values(items) == [(1.0, 2.0), (3.0, 2.0)]
    assert "z/b:3: it has no h; it has t; there is no value before it to hold" in unusable(items)


def test_any_number_of_topics_takes_no_more_than_so_much_memory() -> None:
    post = Post(TopicSource("topic", "#"))
    with post.source as source:
        for number in range(3000):
            post.feed([number], topic=f"t/{number}")
            take_all(source, at_most=1)
    assert len(post.mailbox._last) <= 1024


# --- the words over the socket --------------------------------------------------------------------------------


@given(payload=st.text(st.characters(exclude_categories=["Cs"])), topic=st.text(max_size=5), retained=st.booleans())
def test_an_order_comes_over_the_socket_as_it_was(payload: str, topic: str, retained: bool) -> None:  # noqa: FBT001
    for order in (Feed(topic, payload, retained, lost=3), FeedTrouble(payload)):
        assert parse_order(format_line(order)) == order


def test_a_topic_is_not_to_be_had_where_nobody_hears_it() -> None:
    with pytest.raises(SourceError, match="heard by `edge-agent run`") as caught:
        open_source(OFFICE)
    assert caught.value.hint


def test_messages_fed_by_one_thread_are_taken_by_another_in_their_order() -> None:
    post = Post()
    taken: list[tuple[float, ...]] = []
    room = Semaphore(32)

    def take() -> None:
        with post.source as source:
            while len(taken) < 500:
                taken.extend(values(take_all(source, at_most=1)))
                room.release()

    thread = Thread(target=take)
    thread.start()
    for number in range(500):
        assert room.acquire(timeout=WAIT_S)
        post.feed([number])
    thread.join(WAIT_S)
    assert taken == [(float(number),) for number in range(500)]
