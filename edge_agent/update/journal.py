"""The record of one stage on the disk: `records/<pipeline>/<stage>.json`, replaced as a whole, by one writer.

What the record may say is left to `machine`; when it is written, to `updater`. A record that cannot be read any more
is set aside rather than believed: the releases it named are still on the disk under their digests, and what the
fleet wants is staged from there again. One of an earlier schema is upgraded (see `upgrade`); one of a newer agent is
never touched.

In every schema, whatever else it says, a record is `{"sha256", "record"}`, with `schema`, `current` and `previous` in
the latter as they are today: so an agent that is older than its record can go on serving.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from edge_agent import schema
from edge_agent.disk import Disk
from edge_agent.errors import ConfigError, StorageError
from edge_agent.release.manifest import DIGEST
from edge_agent.update.machine import Record
from edge_agent.update.upgrade import SCHEMA, upgrade

_MAX_SET_ASIDE = 3  # corrupt records kept for a person to look at
_MAX_DETAIL = 2000  # characters of a rejection's detail that are remembered


class CorruptRecordError(Exception):
    """These bytes are not a record any more."""


class ForeignRecordError(ConfigError):
    """A whole record, and not one of this agent's: a newer one has written it, and will want it as it is.

    `known` is what may be served of it, `digests` every release that it may need on the disk.
    """

    def __init__(self, message: str, known: Record, digests: frozenset[str]) -> None:
        super().__init__(
            message,
            hint="install the newer edge-deploy again; or remove the file to begin afresh: installed releases are "
            "re-used, rejections are forgotten",
        )
        self.known = known
        self.digests = digests


class Journal:
    """Reads and writes the record of one stage."""

    def __init__(self, disk: Disk, pipeline: str, stage: str) -> None:
        self._disk = disk
        self._name = f"records/{pipeline}/{stage}.json"
        self._set_aside: str | None = None
        self._foreign: ForeignRecordError | None = None
        self._upgraded: Record | None = None  # of an earlier schema on the disk

    @property
    def name(self) -> str:
        """The file, relative to the state directory."""
        return self._name

    @property
    def set_aside(self) -> str | None:
        """The name under which `read` has put a corrupt record; None where there was none."""
        return self._set_aside

    @property
    def foreign(self) -> ForeignRecordError | None:
        """What is wrong with a record that `read` found and this agent must leave alone; None where it may write."""
        return self._foreign

    def read(self) -> Record:
        """The record, or a new one where there is none or it is corrupt (see `set_aside`).

        Of a newer agent's record it gives what may be served of it (see `foreign`).

        Raises:
            StorageError: the disk fails so that a corrupt record cannot even be set aside.
        """
        self._foreign = self._upgraded = None
        if not self._disk.exists(self._name):
            return Record()
        try:
            record, found = _parse(self._disk.read(self._name), self._name)
        except ForeignRecordError as error:
            self._foreign = error
            return error.known
        except (CorruptRecordError, StorageError):
            self._set_aside = self._free_name()
            self._disk.rename(self._name, self._set_aside)
            return Record()
        self._upgraded = record if found != SCHEMA else None
        return record

    def settle(self) -> None:
        """Make what was read durable, before anything is done because of it that cannot be undone.

        One of an earlier schema is written as today's, once.

        Raises:
            StorageError: it could not be; after a restart the record is there in one of the two schemas.
        """
        if self._upgraded is not None:
            self.write(self._upgraded)
        elif self._disk.exists(self._name):
            self._disk.settle(self._name)

    def write(self, record: Record) -> None:
        """Durably replace the record.

        Raises:
            ForeignRecordError: a newer agent's would be lost by it.
            StorageError: it could not be; after a restart the old record or this one is there.
        """
        if self._foreign is not None:
            raise self._foreign
        self._disk.write_atomic(self._name, format_record(record))
        self._upgraded = None

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
    """Read what `format_record` wrote, in this version of the agent or an earlier one.

    Raises:
        CorruptRecordError: the bytes are damaged.
        ForeignRecordError: they are whole, but from an agent that writes records in another way.
    """
    return _parse(content, name)[0]


def _parse(content: bytes, name: str) -> tuple[Record, int]:
    """The record, and the schema that it is written in."""
    try:
        envelope = json.loads(content)
        tree = envelope["record"]
        whole = envelope["sha256"] == _checksum(tree)
        found = tree["schema"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CorruptRecordError(str(error)) from error
    if not whole:
        raise CorruptRecordError("its checksum is another")
    if type(found) is not int or not 1 <= found <= SCHEMA:
        message = f"{name} has schema {schema.found(found)}; this agent reads 1 to {SCHEMA}"
        raise ForeignRecordError(message, _known(tree), frozenset(_named(tree)))
    try:
        record = schema.parse(Record, upgrade(tree), strict=False)
        _check_digests(record)
    except (schema.SchemaError, ValueError) as error:
        message = f"{name} was written by another version of the agent: {error}"
        raise ForeignRecordError(message, _known(tree), frozenset(_named(tree))) from error
    return record, found


def _known(tree: Mapping[str, Any]) -> Record:
    """What may be served of a record that is not understood: what had been committed, no candidate."""
    said = (tree.get(key) for key in ("current", "previous"))
    current, previous = (text if isinstance(text, str) and DIGEST.fullmatch(text) else None for text in said)
    return Record(current, previous) if current is not None else Record()


def _named(tree: object) -> Iterator[str]:
    """Every digest that stands anywhere in a tree."""
    waiting = [tree]
    while waiting:
        match waiting.pop():
            case str() as text if DIGEST.fullmatch(text):
                yield text
            case list() as items:
                waiting += items
            case dict() as table:
                waiting += table.values()


def _checksum(tree: Any) -> str:
    canonical = json.dumps(tree, sort_keys=True, separators=(",", ":")).encode()
    return hashlib.sha256(canonical).hexdigest()


def _check_digests(record: Record) -> None:
    """They become names of directories."""
    last = (record.last.digest,) if record.last else ()
    for digest in (*record.digests, *last, *(rejection.digest for rejection in record.rejected)):
        if not DIGEST.fullmatch(digest):
            raise ValueError(f"digest {digest[:70]!r} is not 64 lower-case hexadecimal digits")
