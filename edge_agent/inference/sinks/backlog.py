"""What waits for the thread of a sink that takes long: bounded, and the oldest goes first."""

from collections import deque
from threading import Condition
from typing import Generic, TypeVar

T = TypeVar("T")


class Backlog(Generic[T]):
    """At most `limit` items. Any thread may put; one takes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._items: deque[T] = deque()
        self._changed = Condition()
        self._closed = False
        self._hurried = False

    def put(self, item: T) -> bool:
        """Says whether there was room; else the oldest has gone for it. Nothing is taken once it is closed."""
        with self._changed:
            room = len(self._items) < self._limit
            if not room:
                self._items.popleft()
            self._items.append(item)
            self._changed.notify_all()
        return room

    def first(self) -> T | None:
        """The oldest, which stays; None: nothing waits."""
        with self._changed:
            return self._items[0] if self._items else None

    def remove(self, item: T) -> None:
        """It is done with; it may have gone already to make room."""
        with self._changed:
            if self._items and self._items[0] is item:
                self._items.popleft()

    def take(self) -> T | None:
        """The oldest, which is the taker's from now on; None: nothing waits."""
        with self._changed:
            return self._items.popleft() if self._items else None

    def take_all(self) -> list[T]:
        with self._changed:
            items = list(self._items)
            self._items.clear()
        return items

    def wait_for_some(self) -> bool:
        """Block until something waits (True), or it is closed and nothing does (False)."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._closed)
            return bool(self._items)

    def pause(self, seconds: float) -> bool:
        """Block for so long, but not once it is closed or hurried; says whether it was closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._hurried, seconds)
            self._hurried = False
            return self._closed

    def hurry(self) -> None:
        """What waits is to be worked off now."""
        with self._changed:
            self._hurried = True
            self._changed.notify_all()

    def close(self) -> None:
        """Nothing more will come."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def __len__(self) -> int:
        with self._changed:
            return len(self._items)
