"""What several tables of the configuration hold their values to; each raises ValueError."""

import re
from dataclasses import fields
from pathlib import Path
from urllib.parse import urlsplit

_IDENTIFIER = re.compile(r"[a-z0-9_-]{1,64}")


def check_identifier(what: str, text: str) -> None:
    if not _IDENTIFIER.fullmatch(text):
        raise ValueError(f"{what} {text!r} must be 1 to 64 of a-z, 0-9, _ and - (it is part of MQTT topics)")


def check_positive(**values: float | None) -> None:
    for what, value in values.items():
        if value is not None and value <= 0:
            raise ValueError(f"{what} must be more than 0")


def check_not_negative(**values: float | None) -> None:
    for what, value in values.items():
        if value is not None and value < 0:
            raise ValueError(f"{what} must not be less than 0")


def check_share(**values: float | None) -> None:
    for what, value in values.items():
        if value is not None and not 0 <= value <= 1:
            raise ValueError(f"{what} must be from 0 to 1")


def check_password(username: str | None, password_file: Path | None) -> None:
    if password_file is not None and username is None:
        raise ValueError("password_file needs a username")


def check_has_use(config: object, what: str, *names: str) -> None:
    """Raise ValueError where a key that has no use for `what` has been given another value than its own."""
    defaults = {each.name: each.default for each in fields(config)}  # type: ignore[arg-type]  # any dataclass
    given = [name for name in names if getattr(config, name) != defaults[name]]
    if given:
        raise ValueError(f"{', '.join(given)} has no use for {what}: leave it out")


def check_broker_url(url: str) -> None:
    """Raise ValueError unless `url` is mqtt://HOST[:PORT] or mqtts://HOST[:PORT]."""
    parts = urlsplit(url)
    wrong = parts.scheme not in ("mqtt", "mqtts") or not parts.hostname or parts.path.strip("/") or parts.username
    try:
        port = parts.port
    except ValueError:
        port = -1
    if wrong or port == -1:
        raise ValueError(f"url {url!r} must be mqtt://HOST[:PORT] or mqtts://HOST[:PORT], the user under username")


def check_topic_filter(text: str) -> None:
    """Raise ValueError unless it is a topic, or a filter for several (MQTT 5 §4.7)."""
    levels = text.split("/")
    if not text or "\0" in text or len(text.encode()) > 65_535:
        raise ValueError(f"topic {text[:60]!r} must be 1 to 65,535 bytes without a NUL")
    if any("#" in level and level != "#" for level in levels) or "#" in levels[:-1]:
        raise ValueError(f"topic {text!r}: # stands for all levels below, and must be the whole last level")
    if any("+" in level and level != "+" for level in levels):
        raise ValueError(f"topic {text!r}: + stands for one level, and must be the whole of it")
