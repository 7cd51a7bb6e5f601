"""Options that several commands share: a function of theirs stands between click and the command."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

Command = TypeVar("Command", bound=Callable[..., Any])


def with_options(command: Command, taking: Callable[..., Any], options: Sequence[Callable[[Any], Any]]) -> Command:
    """`command` with these options, which `taking` is given, with all others, to call it with what it makes of them."""
    taking.__name__, taking.__doc__ = command.__name__, command.__doc__
    taking.__click_params__ = getattr(command, "__click_params__", [])  # type: ignore[attr-defined]  # click's own
    wrapped: Any = taking
    for option in reversed(options):
        wrapped = option(wrapped)
    typed: Command = wrapped
    return typed
