"""Whether a release document is to be believed: TUF's checks, made in a short-lived child (`verify_child`).

Each (model, channel) is a TUF repository of its own under one shared root, and the caller keeps one durable file of
trusted metadata for each. Here no tuf is imported.
"""

import json
import math
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from edge_agent import schema
from edge_agent.errors import ConfigError, Reason, TrustError
from edge_agent.release.document import Target, is_root_name, parse_document, parse_time_s

_TIMEOUT_S = 120.0  # half a second on a laptop; a loaded Pi Zero that imports from an SD card takes its time
_HINTS = {
    Reason.SIGNATURE: "the device's root.json and the keys that signed must come from one 'edgectl keys init'",
    Reason.EXPIRED: "sign it anew: edgectl refresh; if the device's clock is wrong, set that first",
    Reason.REPLAYED: "push again: a document must have a higher number than any this device has trusted",
    Reason.WRONG_TARGET: "push what is for this model, channel and class of device ([device] class in agent.toml)",
    Reason.INTEGRITY: "push again; the document was damaged or put together wrongly",
}


@dataclass(frozen=True, slots=True)
class Verified:
    """A document that is believed."""

    target: Target
    trusted: bytes  # keep it durably for this (model, channel) and hand it in next time
    signed_s: float = 0.0  # when its stamp was signed
    expires_s: float = math.inf
    online: tuple[str, ...] = ()  # ids of the keys that may sign stamps


def verify(
    root: bytes,
    trusted: bytes | None,
    candidate: bytes,
    *,
    model: str,
    channel: str,
    now_s: float,
    floor_s: float,
    floor_keys: tuple[str, ...] = (),
    device_class: str | None = None,
) -> Verified:
    """Check a release document against the device's root and all it has trusted before.

    `now_s` is what the clock shows where it is known to be right, else 0. `floor_s` is the newest time that this device
    has known documents to be signed at, by keys of which `floor_keys` (`Verified.online`) were those that count: it
    is forgotten when none of them counts any more. Expiry is judged by the later one of the two. `device_class`: of
    this device; None where it is not a device that asks. A document with the number of the trusted one gives the
    trusted one's target.

    Raises:
        TrustError: SIGNATURE, EXPIRED, REPLAYED, WRONG_TARGET or INTEGRITY. Nothing that was trusted has changed.
        ConfigError: `root` is no TUF root.
    """
    parse_document(candidate)
    request = {
        "root": root.decode("utf-8", "replace"),
        "trusted": None if trusted is None else _files(trusted),
        "candidate": candidate.decode("utf-8"),
        "model": model,
        "channel": channel,
        "now_s": now_s,
        "floor_s": floor_s,
        "floor_keys": list(floor_keys),
        "device_class": device_class,
    }
    found = _ask_child(request)
    if found.get("ok") is True:
        target = schema.parse(Target, found["target"], strict=False)
        kept = json.dumps(found["trusted"], separators=(",", ":"), sort_keys=True).encode()
        return Verified(target, kept, found["signed_s"], found["expires_s"], tuple(found["online"]))
    detail = str(found.get("detail"))
    if found.get("reason") == "root":
        raise ConfigError(
            f"the trusted root is not usable: {detail}", hint="copy the root.json that 'edgectl keys init' made"
        )
    raise _refusal(Reason(found["reason"]), f"the document for {model}/{channel} is not believed: {detail}")


def created_s(target: Target) -> float:
    """When the release was made, as seconds since the epoch; 0 where that cannot be read."""
    return parse_time_s(target.created)


def share_roots(trusted: bytes | None, others: Iterable[bytes]) -> bytes | None:
    """`trusted` with the roots that other channels have brought: a key that was revoked counts on none of them."""
    files = {} if trusted is None else _files(trusted)
    found = {name: text for other in others for name, text in _files(other).items() if is_root_name(name)}
    if set(found) <= set(files):
        return trusted
    return json.dumps({**found, **files}, separators=(",", ":"), sort_keys=True).encode()


def _files(trusted: bytes) -> dict[str, str]:
    """The trusted files; none where they have rotted on the disk, as on the first day."""
    try:
        tree = json.loads(trusted)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(tree, dict):
        return {}
    return {name: text for name, text in tree.items() if isinstance(text, str)}


def _ask_child(request: dict[str, Any]) -> dict[str, Any]:
    try:
        ended = subprocess.run(
            [sys.executable, "-P", "-m", "edge_agent.release.verify_child"],
            input=json.dumps(request).encode(),
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise _refusal(Reason.INTEGRITY, f"the check of the document took more than {_TIMEOUT_S:.0f} s") from error
    except OSError as error:  # no memory left for a process, say
        why = error.strerror or str(error)
        raise _refusal(Reason.INTEGRITY, f"the check of the document cannot be started: {why}") from error
    try:
        found = json.loads(ended.stdout)
    except ValueError as error:
        last = ended.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise _refusal(
            Reason.INTEGRITY, f"the check of the document ended with {ended.returncode}: {last or 'no answer'}"
        ) from error
    assert isinstance(found, dict)
    return found


def _refusal(reason: Reason, message: str) -> TrustError:
    return TrustError(message, reason=reason, hint=_HINTS[reason])
