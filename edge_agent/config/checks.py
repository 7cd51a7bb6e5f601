"""What several tables of the configuration hold their values to; each raises ValueError."""

import re

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
