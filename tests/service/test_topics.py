"""Messages of a topic are handed on in order, and one who is slow to take them holds nobody up."""

from queue import SimpleQueue
from threading import Event

from edge_agent.inference.ipc import Feed, FeedTrouble
from edge_agent.service.topics import Forwarder

WAIT_S = 30.0


def test_what_is_put_is_handed_on_in_order() -> None:
    handed: SimpleQueue[object] = SimpleQueue()
    forwarder = Forwarder(handed.put)
    sent: list[Feed | FeedTrouble] = [Feed("t", "1"), FeedTrouble("refused"), Feed("t", "2", retained=True)]
    for message in sent:
        forwarder.put(message)
    assert [handed.get(timeout=WAIT_S) for _ in sent] == sent
    forwarder.close()


def test_a_worker_that_does_not_take_them_costs_the_oldest_and_is_told_how_many() -> None:
    entered, go_on = Event(), Event()
    handed: SimpleQueue[Feed] = SimpleQueue()

    def hand(message: Feed | FeedTrouble) -> None:
        entered.set()
        assert go_on.wait(WAIT_S)
        assert isinstance(message, Feed)
        handed.put(message)

    forwarder = Forwarder(hand)
    forwarder.put(Feed("t", "first"))
    assert entered.wait(WAIT_S)
    for number in range(100):
        forwarder.put(Feed("t", str(number)))  # returns at once
    go_on.set()
    assert handed.get(timeout=WAIT_S).payload == "first"
    after = [handed.get(timeout=WAIT_S) for _ in range(64)]
    assert (after[0].payload, after[0].lost, after[-1].payload) == ("36", 36, "99")
    assert {message.lost for message in after[1:]} == {0}
    forwarder.close()
