"""Waiting for what another thread or process does."""

import time
from collections.abc import Callable
from threading import Event


def until(is_so: Callable[[], object], timeout_s: float = 20.0) -> None:
    """Look every few milliseconds, where there is no event to wait on."""
    deadline_s = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline_s, "it has never come to be so"
        Event().wait(0.005)
