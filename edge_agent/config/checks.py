"""What several tables of the configuration hold their values to: types with a check, and the table that asks them.

A check raises ValueError with what was expected and found, and leaves the key to be named by `schema`.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from edge_agent import schema

_IDENTIFIER = re.compile(r"[a-z0-9_-]{1,64}")


class Table:
    """A table of the configuration: each value is held to its type's checks, then all of them to `problems`."""

    __slots__ = ()

    def __post_init__(self) -> None:
        schema.check(self)
        if found := list(self.problems()):
            raise schema.SchemaError(found)

    def problems(self) -> Iterator[str]:
        """What does not go together in it, though each value by itself is right."""
        return iter(())


def from_to(least: float, most: float, unit: str = "") -> Callable[[float], None]:
    """A check of a number; huge ones are refused since what counts or waits with them would fail later."""
    expected = f"must be {_format_limit(least)} to {_format_limit(most)}{unit and f' {unit}'}"

    def check(value: float) -> None:
        if not least <= value <= most:
            raise ValueError(f"{expected}, found {schema.found(value)}")

    return check


def _format_limit(value: float) -> str:
    return f"{value:,.6f}".rstrip("0").rstrip(".")


def _check_identifier(text: str) -> None:
    if not _IDENTIFIER.fullmatch(text):
        raise ValueError(
            f"must be 1 to 64 of a-z, 0-9, _ and - (it is part of MQTT topics), found {schema.found(text)}"
        )


def _check_more_than_0(value: float) -> None:
    if value <= 0:
        raise ValueError(f"must be more than 0, found {value:g}")


_at_most_a_year = from_to(0, 31_536_000, "seconds (a year)")
Identifier = Annotated[str, _check_identifier]
Count = Annotated[int, from_to(1, 1_000_000_000_000)]
CountOr0 = Annotated[int, from_to(0, 1_000_000_000_000)]
Pixels = Annotated[int, from_to(1, 32_768, "px")]
SampleRate = Annotated[int, from_to(1, 1_000_000, "Hz")]
Rate = Annotated[float, _check_more_than_0, from_to(0.000_001, 1_000_000, "a second")]
Seconds = Annotated[float, _check_more_than_0, _at_most_a_year]
SecondsOr0 = Annotated[float, _at_most_a_year]
Share = Annotated[float, from_to(0, 1)]


def password_alone(username: str | None, password_file: Path | None) -> Iterator[str]:
    if password_file is not None and username is None:
        yield "password_file needs a username"


def without_use(config: Any, what: str, *names: str) -> Iterator[str]:
    """Where keys that have no use for `what` have been given other values than their own."""
    defaults = {each.name: each.default for each in fields(config)}
    given = [name for name in names if getattr(config, name) != defaults[name]]
    if given:
        yield f"{', '.join(given)} has no use for {what}: leave it out"


def _check_broker_url(url: str) -> None:
    """Raise ValueError unless `url` is mqtt://HOST[:PORT] or mqtts://HOST[:PORT]; what it is may hold a password."""
    expected = "must be mqtt://HOST[:PORT] or mqtts://HOST[:PORT]"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        if "@" in url:
            raise ValueError(expected) from error
        raise ValueError(f"{expected}, found {schema.found(url)}") from error
    if "@" in parts.netloc:
        raise ValueError(f"{expected}, the user under username and the password in password_file")
    beyond = parts.path.strip("/") or parts.query or parts.fragment or re.search(r"\s", url)
    if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname or port == 0 or beyond:
        raise ValueError(f"{expected}, found {schema.found(url)}")


BrokerUrl = Annotated[str, _check_broker_url]
