"""Subscriptions that a broker refuses: told, asked for again, and told when they are granted."""

from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Literal

from edge_agent.link.events import Receipt
from edge_agent.link.mqtt import Link
from edge_agent.link.standing import Standing

_SOON_S = (0.01, 0.01)
_PATIENCE_S = 20.0


class FakeLink(Link):
    """Answers as it is told to, and keeps what was asked."""

    def __init__(self, *answers: tuple[str | None, ...] | None) -> None:
        self._answers = list(answers)
        self.asked: SimpleQueue[tuple[str, ...]] = SimpleQueue()

    def subscribe(
        self, topics: Sequence[str], *, qos: Literal[0, 1] = 1, then: Callable[[Receipt], None] | None = None
    ) -> Receipt:
        self.asked.put(tuple(topics))
        receipt = Receipt(then)
        answer = self._answers.pop(0)
        if answer is None:
            receipt.settle("the connection was lost")
        else:
            receipt.settle(next(filter(None, answer), None), answer)
        return receipt


def test_only_what_was_refused_is_asked_for_again_until_it_is_granted() -> None:
    told: SimpleQueue[tuple[str, ...]] = SimpleQueue()
    link = FakeLink((None, "no", "no"), ("no", None), (None,))
    standing = Standing(link, ["a", "b", "c"], told.put, retry_s=_SOON_S)
    standing.connected()
    assert [told.get(timeout=_PATIENCE_S) for _ in range(3)] == [("b", "c"), ("b",), ()]
    assert [link.asked.get(timeout=_PATIENCE_S) for _ in range(3)] == [("a", "b", "c"), ("b", "c"), ("b",)]
    assert link.asked.empty()


def test_what_is_granted_at_once_is_not_told() -> None:
    told: list[tuple[str, ...]] = []
    Standing(FakeLink((None, None)), ["a", "b"], told.append, retry_s=_SOON_S).connected()
    assert told == []


def test_a_lost_connection_is_no_refusal() -> None:
    told: list[tuple[str, ...]] = []
    standing = Standing(FakeLink(None, (None,)), ["a"], told.append, retry_s=_SOON_S)
    standing.connected()
    standing.connected()
    assert told == []


def test_closed_it_asks_no_more() -> None:
    told: list[tuple[str, ...]] = []
    link = FakeLink(("no",))
    standing = Standing(link, ["a"], told.append, retry_s=(1000.0, 1000.0))
    standing.connected()
    timer = standing._timer
    standing.close()
    assert timer is not None
    timer.join(_PATIENCE_S)
    assert told == [("a",)]
    assert link.asked.qsize() == 1
