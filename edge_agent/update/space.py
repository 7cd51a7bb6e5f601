"""Room on the disk, promised before the first byte of a release is written.

An account, not `posix_fallocate`: what is promised and not written yet is subtracted from what is free, so that two
stages that fetch at once are never promised the same room. Allocating would say so to other processes too; but FAT and
NFS do not know it, glibc then writes all the zeros (twice the wear of an SD card), and the length of a partial file
would no longer tell how much of it can have come. Against other processes there is the margin.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from edge_agent.disk import Disk
from edge_agent.errors import Reason, StorageError

MARGIN_BYTES = 8 << 20  # left free for records, the outbox and the rest of the machine


class Reservation:
    """A part of the free room that nobody else is promised. One thread's."""

    def __init__(self, space: "Space") -> None:
        self._space = space
        self._bytes = 0

    def resize(self, needed_bytes: int) -> None:
        """Have so much from now on, whatever has been used.

        Raises:
            StorageError: DISK_FULL; the reservation is as it was.
        """
        self._bytes = self._space._promise(self._bytes, needed_bytes)  # noqa: SLF001  # one account in two classes

    def use(self, written_bytes: int) -> None:
        """Say that so much of it has been written: the disk counts it now."""
        kept_bytes = max(0, self._bytes - written_bytes)
        self._space._release(self._bytes - kept_bytes)  # noqa: SLF001
        self._bytes = kept_bytes

    def end(self) -> None:
        self.use(self._bytes)


class Space:
    """The account of one disk; for any thread."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._promised_bytes = 0
        self._changing = Lock()

    @property
    def is_short(self) -> bool:
        """Whether not even the margin is free."""
        return self._disk.free_bytes() < MARGIN_BYTES

    @contextmanager
    def reserve(self, needed_bytes: int) -> Iterator[Reservation]:
        """Until the end of the block.

        Raises:
            StorageError: DISK_FULL, with what is needed, free and promised.
        """
        reservation = Reservation(self)
        reservation.resize(needed_bytes)
        try:
            yield reservation
        finally:
            reservation.end()

    def _promise(self, before_bytes: int, needed_bytes: int) -> int:
        with self._changing:
            others_bytes = self._promised_bytes - before_bytes
            free_bytes = self._disk.free_bytes()
            if needed_bytes + others_bytes + MARGIN_BYTES > free_bytes and needed_bytes > 0:
                raise StorageError(
                    _too_little(needed_bytes, others_bytes, free_bytes), reason=Reason.DISK_FULL, hint=_HINT
                )
            self._promised_bytes = others_bytes + needed_bytes
            return needed_bytes

    def _release(self, freed_bytes: int) -> None:
        with self._changing:
            self._promised_bytes -= freed_bytes


_HINT = "free some space; the agent goes on by itself"


def _too_little(needed_bytes: int, others_bytes: int, free_bytes: int) -> str:
    others = f", {_mb(others_bytes)} are promised to other releases" if others_bytes else ""
    return (
        f"the release needs {_mb(needed_bytes)} and a margin of {_mb(MARGIN_BYTES)}; {_mb(free_bytes)} are free{others}"
    )


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB"
