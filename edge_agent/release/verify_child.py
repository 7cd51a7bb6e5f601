"""Checks one release document with python-tuf, in a process that ends afterwards (`python -m`; started by `trust`).

A process of its own because tuf costs the supervisor 14 MB for something done once a day, and because it reads what
anybody who may publish can write. python-tuf keeps its state in files it does not sync, so it gets a temporary
directory here; the caller keeps what it trusted in one durable file.

One JSON object on stdin (see `trust.verify`), one on stdout: `{"ok": true, "target": …, "trusted": …}`, or
`{"ok": false, "reason": …, "detail": …}` with a `Reason`, or "root" where the device's own root is unusable.
"""

import datetime as dt
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadError,
    DownloadHTTPError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    RepositoryError,
    UnsignedMetadataError,
)
from tuf.api.metadata import Metadata, Timestamp
from tuf.ngclient.config import UpdaterConfig
from tuf.ngclient.fetcher import FetcherInterface
from tuf.ngclient.updater import Updater

from edge_agent import schema
from edge_agent.errors import Reason, TrustError
from edge_agent.release.document import (
    MAX_DOCUMENT_BYTES,
    SIGNED_FIELD,
    Target,
    is_root_name,
    parse_document,
    parse_time_s,
    target_of,
    target_path,
)

_MEMORY_BYTES = 1 << 30  # address space; the process uses about 50 MB
_CPU_S = 60
_LAST_S = 253_402_300_000.0  # in the year 9999: later ones cannot be dates
_URL = "bundle:///"
_KEPT = ("timestamp.json", "snapshot.json", "targets.json")
_REASONS: tuple[tuple[type[Exception], Reason], ...] = (
    (ExpiredMetadataError, Reason.EXPIRED),
    (BadVersionNumberError, Reason.REPLAYED),
    (UnsignedMetadataError, Reason.SIGNATURE),
    (LengthOrHashMismatchError, Reason.INTEGRITY),
    (DownloadError, Reason.INTEGRITY),
    (RepositoryError, Reason.INTEGRITY),
)


class BundleFetcher(FetcherInterface):
    """Gives python-tuf the files of a bundle; a file that is not in it is its 404."""

    def __init__(self, files: Mapping[str, str]) -> None:
        super().__init__()
        self._files = files

    def _fetch(self, url: str) -> Iterator[bytes]:
        name = url.removeprefix(_URL)
        if name not in self._files:
            raise DownloadHTTPError(f"{name} is not in the document", 404)
        return iter([self._files[name].encode()])


class UnusableRootError(Exception):
    """The root that came with the device is not one."""


def main() -> None:
    if sys.platform != "win32":  # a laptop may be; a device is not
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CPU, (_CPU_S, _CPU_S))
    json.dump(answer(json.load(sys.stdin)), sys.stdout)


def answer(request: Mapping[str, Any]) -> dict[str, Any]:
    """Check what `request` asks for; never raises."""
    try:
        found = _verify(request)
    except UnusableRootError as error:
        return {"ok": False, "reason": "root", "detail": str(error)}
    except TrustError as error:
        return {"ok": False, "reason": error.reason.value, "detail": str(error)}
    except Exception as error:  # noqa: BLE001  # where this worker ends: whatever a document can cause, it is refused
        reason = next((reason for kind, reason in _REASONS if isinstance(error, kind)), Reason.INTEGRITY)
        return {"ok": False, "reason": reason.value, "detail": str(error) or type(error).__name__}
    return {"ok": True, **found}


def _verify(request: Mapping[str, Any]) -> dict[str, Any]:
    candidate = parse_document(request["candidate"].encode())
    model, channel = request["model"], request["channel"]
    with tempfile.TemporaryDirectory(prefix="edge-verify-") as name:
        directory = Path(name)
        _seed(directory, request["trusted"] or {})
        updater = _updater(directory, request["root"].encode(), candidate)
        # Whether it has expired is asked below, once it is known which keys count: a clock floor goes with them.
        updater._trusted_set.reference_time = dt.datetime.fromtimestamp(0, dt.UTC)  # noqa: SLF001  # python-tuf has no public way to hand it a clock
        updater.refresh()
        _check_number(directory, candidate)
        trusted_set = updater._trusted_set  # noqa: SLF001  # the public way to it is files
        online = sorted(trusted_set.root.roles["timestamp"].keyids)
        signed_s = _signed_s(trusted_set)
        expires_s = _check_expiry(trusted_set, max(_reference_s(request, online), signed_s))
        entry = updater.get_targetinfo(target_path(model, channel))
        if entry is None:
            found = ", ".join(sorted(trusted_set.targets.targets)) or "nothing"
            raise TrustError(f"the document is for {found}, not for {model}/{channel}", reason=Reason.WRONG_TARGET)
        target = _target(entry, model, channel)
        _check_class(target, request["device_class"])
        return {
            "target": schema.dump(target),
            "trusted": _trusted(directory, trusted_set.root.version),
            "signed_s": signed_s or parse_time_s(target.created),
            "expires_s": expires_s,
            "online": online,
        }


def _signed_s(trusted_set: Any) -> float:
    """When the stamp says that it was signed; 0 where it does not. Nothing in the document may have expired by then."""
    said = str(trusted_set.timestamp.unrecognized_fields.get(SIGNED_FIELD, ""))
    return min(parse_time_s(said), _LAST_S)


def _reference_s(request: Mapping[str, Any], online: list[str]) -> float:
    """The time to judge expiry by: the later of the clock and of the newest time that keys which still count have said.

    What keys have said that count no more is forgotten, like the numbers of their documents: a stolen one may have
    said that it is the year 2099.
    """
    keys = request["floor_keys"]
    floor_s = request["floor_s"] if not keys or set(keys) & set(online) else 0.0
    return float(min(max(request["now_s"], floor_s, 0.0), _LAST_S))


def _check_expiry(trusted_set: Any, reference_s: float) -> float:
    """Raises ExpiredMetadataError; returns when the first of the parts expires, as seconds since the epoch."""
    reference = dt.datetime.fromtimestamp(reference_s, dt.UTC)
    parts = (trusted_set.root, trusted_set.timestamp, trusted_set.snapshot, trusted_set.targets)
    for part in parts:
        if part.is_expired(reference):
            raise ExpiredMetadataError(
                f"its {part.type} expired on {part.expires:%Y-%m-%d}; it is {reference:%Y-%m-%d}"
            )
    return min(float(part.expires.replace(tzinfo=dt.UTC).timestamp()) for part in parts)


def _check_class(target: Target, device_class: str | None) -> None:
    if device_class is not None and target.device_class not in ("", device_class):
        mine = f"class {device_class!r}" if device_class else "no class"
        raise TrustError(
            f"the release is signed for devices of class {target.device_class!r}, and this device has {mine}",
            reason=Reason.WRONG_TARGET,
        )


def _check_number(directory: Path, files: Mapping[str, str]) -> None:
    """TUF passes over a timestamp with the number of the trusted one; a release must not be lost in silence."""
    trusted = Metadata[Timestamp].from_bytes((directory / "timestamp.json").read_bytes())
    # What is signed, not the text: who sets it out otherwise must not be able to make the real one look like another.
    if trusted.signed_bytes != Metadata[Timestamp].from_bytes(files["timestamp.json"].encode()).signed_bytes:
        number = trusted.signed.version
        raise TrustError(f"this device trusts another document numbered {number} already", reason=Reason.REPLAYED)


def _updater(directory: Path, root: bytes, files: Mapping[str, str]) -> Updater:
    config = UpdaterConfig(
        root_max_length=MAX_DOCUMENT_BYTES,
        timestamp_max_length=MAX_DOCUMENT_BYTES,
        snapshot_max_length=MAX_DOCUMENT_BYTES,
        targets_max_length=MAX_DOCUMENT_BYTES,
    )
    try:
        return Updater(str(directory), _URL, fetcher=BundleFetcher(files), config=config, bootstrap=root)
    except RepositoryError as error:
        raise UnusableRootError(str(error)) from error


def _seed(directory: Path, trusted: Mapping[str, str]) -> None:
    """What this device trusted before. Files that have rotted are ignored by python-tuf, as if never seen."""
    (directory / "root_history").mkdir()
    for name, text in trusted.items():
        if is_root_name(name):
            (directory / "root_history" / name).write_text(text, encoding="utf-8")
        elif name in _KEPT:
            (directory / name).write_text(text, encoding="utf-8")


def _trusted(directory: Path, root: int) -> dict[str, str]:
    """What to keep; of the roots those that led to the one that counts."""
    history = [file for file in (directory / "root_history").iterdir() if int(file.name.partition(".")[0]) <= root]
    files = [*history, *(directory / name for name in _KEPT)]
    return {file.name: file.read_text(encoding="utf-8") for file in sorted(files)}


def _target(entry: Any, model: str, channel: str) -> Target:
    custom = entry.unrecognized_fields.get("custom")
    try:
        target = target_of(custom, digest=entry.hashes.get("sha256", ""), size_bytes=entry.length)
    except ValueError as error:
        raise TrustError(f"the signed target cannot be used: {error}", reason=Reason.INTEGRITY) from error
    if (target.model, target.channel) != (model, channel):
        raise TrustError(
            f"the signed target is for {target.model}/{target.channel}, not for {model}/{channel}",
            reason=Reason.WRONG_TARGET,
        )
    return target


if __name__ == "__main__":
    main()
