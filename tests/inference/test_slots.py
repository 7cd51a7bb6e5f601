"""The queue between two threads of a worker."""

from threading import Event, Thread

import pytest

from edge_agent.inference.slots import ClosedError, Slots


def slots(size: int) -> Slots[str]:
    return Slots(size, str.isupper)  # upper case: orders


def test_what_is_put_comes_out_in_order() -> None:
    queue = slots(3)
    for item in "abc":
        queue.put(item)
    assert [queue.get() for _ in range(3)] == ["a", "b", "c"]


def test_the_latest_takes_the_place_of_the_oldest() -> None:
    queue = slots(2)
    assert [queue.put_latest(item) for item in "abcd"] == [None, None, "a", "b"]
    assert [queue.get(), queue.get()] == ["c", "d"]


def test_what_is_left_out_is_inherited_before_anybody_can_get_the_latest() -> None:
    queue = slots(1)
    seen: list[tuple[str, int]] = []
    queue.put_latest("a", lambda old: seen.append((old, 0)))
    queue.put_latest("b", lambda old: seen.append((old, len(queue._items))))
    assert seen == [("a", 0)]
    assert queue.get() == "b"


def test_an_order_takes_no_slot_and_is_never_dropped() -> None:
    queue = slots(1)
    queue.put("a")
    queue.put_order("X")
    assert queue.put_latest("b") == "a"
    assert [queue.get(), queue.get()] == ["X", "b"]


def test_an_urgent_order_comes_first_and_alone_if_asked_for() -> None:
    queue = slots(2)
    queue.put("a")
    queue.put_urgent("X")
    assert queue.get(urgent_only=True) == "X"
    assert queue.get() == "a"


def test_a_full_queue_makes_the_putting_thread_wait() -> None:
    queue = slots(1)
    queue.put("a")
    done = Event()

    def put_second() -> None:
        queue.put("b")
        done.set()

    thread = Thread(target=put_second)
    thread.start()
    assert not done.is_set()
    assert queue.get() == "a"
    assert done.wait(10)
    thread.join()
    assert queue.get() == "b"


def test_closing_wakes_whoever_waits() -> None:
    queue = slots(1)
    woken = Event()

    def wait() -> None:
        with pytest.raises(ClosedError):
            queue.get()
        woken.set()

    thread = Thread(target=wait)
    thread.start()
    queue.close()
    assert woken.wait(10)
    thread.join()
    with pytest.raises(ClosedError):
        queue.put("a")
