"""The record of one stage on the disk: `records/<pipeline>/<stage>.json`, replaced as a whole, by one writer.

What the record may say is left to `machine`; when it is written, to `updater`. A record that cannot be read any more
is set aside rather than believed: the releases it named are still on the disk under their digests, and what the
fleet wants is staged from there again.
"""

import hashlib
import json
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from edge_agent import schema
from edge_agent.disk import Disk
from edge_agent.errors import ConfigError, StorageError
from edge_agent.release.manifest import DIGEST
from edge_agent.update.machine import Record

SCHEMA = 1
_MAX_SET_ASIDE = 3  # corrupt records kept for a person to look at
_MAX_DETAIL = 2000  # characters of a rejection's detail that are remembered


class CorruptRecordError(Exception):
    """These bytes are not a record any more."""


class Journal:
    """Reads and writes the record of one stage."""

    def __init__(self, disk: Disk, pipeline: str, stage: str) -> None:
        self._disk = disk
        self._name = f"records/{pipeline}/{stage}.json"
        self._set_aside: str | None = None

    @property
    def name(self) -> str:
        """The file, relative to the state directory."""
        return self._name

    @property
    def set_aside(self) -> str | None:
        """The name under which `read` has put a corrupt record; None where there was none."""
        return self._set_aside

    def read(self) -> Record:
        """The record, or a new one where there is none or it is corrupt (see `set_aside`).

        Raises:
            ConfigError: it was written by another version of the agent and must not be wiped.
            StorageError: the disk fails so that a corrupt record cannot even be set aside.
        """
        if not self._disk.exists(self._name):
            return Record()
        try:
            return parse_record(self._disk.read(self._name), name=self._name)
        except (CorruptRecordError, StorageError):
            self._set_aside = self._free_name()
            self._disk.rename(self._name, self._set_aside)
            return Record()

    def settle(self) -> None:
        """Make what was read durable, before anything is done because of it that cannot be undone."""
        if self._disk.exists(self._name):
            self._disk.settle(self._name)

    def write(self, record: Record) -> None:
        """Durably replace the record.

        Raises:
            StorageError: it could not be; after a restart the old record or this one is there.
        """
        self._disk.write_atomic(self._name, format_record(record))

    def _free_name(self) -> str:
        taken = set(self._disk.names(str(PurePosixPath(self._name).parent)))
        names = [f"{self._name}.corrupt-{number}" for number in range(1, _MAX_SET_ASIDE + 1)]
        return next((name for name in names if PurePosixPath(name).name not in taken), names[-1])


def format_record(record: Record) -> bytes:
    """One JSON object, with the checksum of the canonical form of all it says."""
    if record.last is not None and record.last.detail is not None:
        record = replace(record, last=replace(record.last, detail=record.last.detail[:_MAX_DETAIL]))
    tree = {"schema": SCHEMA, **schema.dump(record)}
    return json.dumps({"sha256": _checksum(tree), "record": tree}, indent=1).encode() + b"\n"


def parse_record(content: bytes, *, name: str = "record") -> Record:
    """Read what `format_record` wrote.

    Raises:
        CorruptRecordError: the bytes are damaged.
        ConfigError: they are whole, but from an agent that writes records in another way.
    """
    try:
        envelope = json.loads(content)
        tree = envelope["record"]
        whole = envelope["sha256"] == _checksum(tree)
        found = tree["schema"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CorruptRecordError(str(error)) from error
    if not whole:
        raise CorruptRecordError("its checksum is another")
    hint = "install the newer edge-deploy again, or remove the file to begin afresh: installed releases are re-used"
    if found != SCHEMA:
        raise ConfigError(f"{name} has schema {found}; this agent reads {SCHEMA}", hint=hint)
    try:
        record = schema.parse(Record, tree, strict=False)
        _check_digests(record)
    except (schema.SchemaError, ValueError) as error:
        raise ConfigError(f"{name} was written by another version of the agent: {error}", hint=hint) from error
    return record


def _checksum(tree: Any) -> str:
    canonical = json.dumps(tree, sort_keys=True, separators=(",", ":")).encode()
    return hashlib.sha256(canonical).hexdigest()


def _check_digests(record: Record) -> None:
    """They become names of directories."""
    last = (record.last.digest,) if record.last else ()
    for digest in (*record.digests, *last, *(rejection.digest for rejection in record.rejected)):
        if not DIGEST.fullmatch(digest):
            raise ValueError(f"digest {digest[:70]!r} is not 64 lower-case hexadecimal digits")
