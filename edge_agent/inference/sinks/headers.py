"""The file of headers that go with each request. What is in it is secret: no message repeats any of it."""

import re
from pathlib import Path

from edge_agent.errors import InputError

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 §5.6.2, token
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")  # §5.5, field-value
_OURS = ("content-length", "content-type", "host", "transfer-encoding", "connection")
_MOST_BYTES = 65_536


def read_headers(path: Path) -> dict[str, str]:
    """The lines `Name: value` of a file; blank ones and those that begin with `#` are left out.

    Raises:
        InputError: it cannot be read, or a line is none; told by its number only.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise InputError(f"the header file {path}: {reason or 'cannot be read'}") from None  # bytes may be secret
    return parse_headers(text, str(path))


def parse_headers(text: str, name: str) -> dict[str, str]:
    """`read_headers` of a file's text.

    Raises:
        InputError: a line is no header.
    """
    headers: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        key, colon, value = line.partition(":")
        key, value = key.strip(), value.strip()
        if not colon or not _NAME.fullmatch(key) or not _VALUE.fullmatch(value):
            raise InputError(
                f"line {number} of the header file {name} is not `Name: value`", hint="use printable Latin-1 only"
            )
        if key.lower() in _OURS:
            raise InputError(f"line {number} of the header file {name} sets {key}, which is set for each request")
        headers[key] = value
    if not headers:  # it may just be being written
        raise InputError(f"the header file {name} holds no line `Name: value`")
    return headers
