"""The bounded queue between two threads of a worker: it makes the faster one wait, or lets the oldest go."""

from collections import deque
from collections.abc import Callable
from threading import Condition
from typing import Generic, TypeVar

T = TypeVar("T")


class ClosedError(Exception):
    """The worker is ending; the thread that meets this ends too."""


class Slots(Generic[T]):
    """At most `size` items wait. What `is_order` says is an order takes no slot and is never dropped."""

    def __init__(self, size: int, is_order: Callable[[T], bool]) -> None:
        self._size = size
        self._is_order = is_order
        self._items: deque[T] = deque()
        self._urgent: deque[T] = deque()
        self._changed = Condition()
        self._closed = False

    def put(self, item: T) -> None:
        """Wait for a slot."""
        with self._changed:
            while not self._closed and self._waiting() >= self._size:
                self._changed.wait()
            self._append(item)

    def put_latest(self, item: T, inherit: Callable[[T], None] = lambda _: None) -> T | None:
        """Take a slot at once, the oldest waiting item's if need be, which is returned."""
        with self._changed:
            oldest = None
            if self._waiting() >= self._size:
                place = next(place for place, waiting in enumerate(self._items) if not self._is_order(waiting))
                oldest = self._items[place]
                del self._items[place]
                inherit(oldest)  # before anybody can get the new one
            self._append(item)
            return oldest

    def put_order(self, order: T) -> None:
        """Behind what waits, without a slot."""
        with self._changed:
            self._append(order)

    def put_urgent(self, order: T) -> None:
        """Before everything that waits."""
        with self._changed:
            self._urgent.append(order)
            self._changed.notify_all()

    def get(self, *, urgent_only: bool = False) -> T:
        """The next item, once there is one.

        Raises:
            ClosedError: there will be none.
        """
        with self._changed:
            while not (self._closed or self._urgent or (self._items and not urgent_only)):
                self._changed.wait()
            if self._closed:
                raise ClosedError
            item = self._urgent.popleft() if self._urgent else self._items.popleft()
            if self._waiting() <= self._size // 2:  # several slots at a time: each wake-up costs both threads
                self._changed.notify_all()
            return item

    @property
    def is_full(self) -> bool:
        """Whether `put` would wait."""
        with self._changed:
            return self._waiting() >= self._size

    def __len__(self) -> int:
        """How many items wait, orders included."""
        return len(self._items) + len(self._urgent)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _append(self, item: T) -> None:
        if self._closed:
            raise ClosedError
        self._items.append(item)
        self._changed.notify_all()

    def _waiting(self) -> int:
        return sum(not self._is_order(item) for item in self._items)
