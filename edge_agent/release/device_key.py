"""The key by which this device reads encrypted releases: one line in a file that only the agent may read.

It is made on the device and never leaves it; what is handed out is its public half. It may also lie in a systemd
credential. What it opens is left to `sealing`.
"""

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from edge_agent.disk import Disk
from edge_agent.errors import FetchError, InputError, Reason
from edge_agent.release.sealing import format_public, format_secret, make_key, parse_secret, public_of

KEY_FILE = "device.key"
_HINT = "make one as the agent's user with 'edge-agent keys init', and push for its public half with --encrypt-to"


def key_path(configured: Path | None, state_dir: Path, environment: Mapping[str, str] = os.environ) -> Path:
    """Where the key is, or would be made: as configured, else the systemd credential, else the state directory."""
    if configured is not None:
        return configured
    credentials = environment.get("CREDENTIALS_DIRECTORY")
    if credentials and (Path(credentials) / KEY_FILE).exists():
        return Path(credentials) / KEY_FILE
    return state_dir / KEY_FILE


def make_device_key(disk: Disk, name: str) -> str:
    """Make a key, durable before anybody is told of it; gives its public half as text.

    Raises:
        InputError: there is one already; it is never overwritten, or what was encrypted for it would be lost.
    """
    if disk.exists(name):
        raise InputError(
            f"there is a key in {name} already",
            hint="'edge-agent keys show' prints its public half; move it away first",
        )
    secret = make_key()
    disk.write_atomic(name, f"{format_secret(secret)}\n".encode())
    return format_public(public_of(secret))


def read_device_key(path: Path) -> bytes:
    """The secret key in a file.

    Raises:
        FetchError: NO_KEY: there is none, it may not be read, anybody may read it, or it is something else.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(1000)
    except FileNotFoundError:
        raise FetchError(f"this device has no key in {path}", reason=Reason.NO_KEY, hint=_HINT) from None
    except OSError as error:
        raise FetchError(
            f"the key {path} cannot be read: {error.strerror}",
            reason=Reason.NO_KEY,
            hint="the agent's user must own it",
        ) from error
    if mode & stat.S_IRWXO:
        raise FetchError(
            f"the key {path} can be read by every user of this device", reason=Reason.NO_KEY, hint=f"chmod 600 {path}"
        )
    try:
        return parse_secret(content.decode("ascii").strip())
    except ValueError:  # UnicodeDecodeError is one; neither may show what was read
        raise FetchError(f"the file {path} holds no device key", reason=Reason.NO_KEY, hint=_HINT) from None
