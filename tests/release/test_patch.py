"""Patches: what bsdiff makes is applied as bsdiff does, and whatever else comes ends in an error of ours."""

import bz2
import struct
import tracemalloc
from contextlib import suppress
from random import Random

import bsdiff4
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edge_agent.errors import Reason
from edge_agent.release.patch import Patch, PatchError, apply_patch

BASE = Random(1).randbytes(5000)
NEW = BASE[:2000] + b"between" + bytes(byte ^ 1 for byte in BASE[2000:4000]) + BASE[:700]
PATCH: bytes = bsdiff4.diff(BASE, NEW)


def crafted(
    *triples: tuple[int, int, int], diff: bytes = b"", extra: bytes = b"", size_bytes: int | None = None
) -> bytes:
    """A patch of these parts, right or wrong. Negative numbers are sign and magnitude."""

    def number(value: int) -> bytes:
        return struct.pack("<Q", abs(value) | (1 << 63 if value < 0 else 0))

    control = bz2.compress(b"".join(number(value) for triple in triples for value in triple))
    packed = bz2.compress(diff)
    made = sum(copied + added for copied, added, _ in triples) if size_bytes is None else size_bytes
    return (
        b"BSDIFF40" + number(len(control)) + number(len(packed)) + number(made) + control + packed + bz2.compress(extra)
    )


def test_a_patch_makes_what_it_was_made_from() -> None:
    assert apply_patch(BASE, PATCH, len(NEW)) == NEW


@settings(deadline=None)
@given(base=st.binary(max_size=400), new=st.binary(max_size=400), repeats=st.integers(1, 3))
@example(base=b"", new=b"", repeats=1)
@example(base=b"\xff" * 300, new=b"\x00" * 299, repeats=3)
def test_any_patch_of_bsdiff_is_applied_as_bsdiff_does(base: bytes, new: bytes, repeats: int) -> None:
    base, new = base * repeats, base[:50] + new * repeats + base[20:]
    assert apply_patch(base, bsdiff4.diff(base, new), len(new)) == new


def test_bytes_are_added_without_carry_in_long_and_short_runs() -> None:
    for size in (1, 255, 256, 65_536, 70_001):
        base, diff = Random(size).randbytes(size), Random(-size).randbytes(size)
        expected = bytes((a + b) % 256 for a, b in zip(base, diff, strict=True))
        assert apply_patch(base, crafted((size, 0, 0), diff=diff), size) == expected


def test_outside_of_the_base_there_are_zeros() -> None:
    patch = crafted((0, 0, -3), (8, 0, 0), diff=bytes(range(1, 9)))
    assert apply_patch(b"\x10\x10", patch, 8) == bytes((1, 2, 3, 0x14, 0x15, 6, 7, 8))


@pytest.mark.parametrize(
    ("patch", "size_bytes", "words"),
    [
        (b"", 10, "no header"),
        (b"BSDIFF41" + PATCH[8:], len(NEW), "begins with"),
        (PATCH, len(NEW) + 1, "expected"),
        (PATCH[:-5], len(NEW), "cut off"),
        (PATCH[:60], len(NEW), "cut off"),
        (crafted((10, 0, 0), diff=b"1234"), 10, "more bytes than it brings"),
        (crafted((0, 10, 0), extra=b"1234"), 10, "more bytes than it brings"),
        (crafted((4, 0, 0), diff=b"1234", size_bytes=3), 3, "more than"),
        (crafted((-1, 1, 0), diff=b"1234", size_bytes=3), 3, "more than"),
        (crafted((1, -1, 0), diff=b"1234", size_bytes=3), 3, "more than"),
        (crafted((2, 0, 0), diff=b"12", size_bytes=3), 3, "makes 2 bytes"),
        (crafted((1 << 62, 0, 0), diff=b"", size_bytes=3), 3, "more than"),
        (PATCH[:32] + b"x" * (len(PATCH) - 32), len(NEW), "does not inflate"),
    ],
)
def test_a_patch_that_is_none_is_refused(patch: bytes, size_bytes: int, words: str) -> None:
    with pytest.raises(PatchError, match=words) as caught:
        apply_patch(BASE, patch, size_bytes)
    assert caught.value.reason is Reason.BAD_PATCH


@pytest.mark.parametrize("block", ["control", "diff", "extra"])
def test_a_bomb_is_not_inflated(block: str) -> None:
    bomb = bytes(60_000_000)
    parts = {"diff": b"", "extra": b"", block: bomb}
    patch = crafted((1, 0, 0), diff=parts["diff"], extra=parts["extra"], size_bytes=1000)
    if block == "control":
        control = bz2.compress(bomb[: 60_000_000 // 24 * 24])
        patch = b"BSDIFF40" + struct.pack("<3Q", len(control), 14, 1000) + control + bz2.compress(b"") * 2
    tracemalloc.start()
    try:
        with pytest.raises(PatchError, match="inflates to more"):
            apply_patch(BASE, patch, 1000)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_a_damaged_patch_makes_something_of_the_right_size_or_an_error_of_ours(data: st.DataObject) -> None:
    patch = bytearray(PATCH)
    for _ in range(data.draw(st.integers(1, 4))):
        patch[data.draw(st.integers(0, len(patch) - 1))] = data.draw(st.integers(0, 255))
    with suppress(PatchError):
        assert len(apply_patch(BASE, bytes(patch), len(NEW))) == len(NEW)


_NUMBERS = st.integers(-10, 30) | st.sampled_from([-(1 << 62), 1 << 62, (1 << 63) - 1])


@settings(deadline=None)
@given(triples=st.lists(st.tuples(_NUMBERS, _NUMBERS, _NUMBERS), max_size=6), size_bytes=st.integers(0, 60))
def test_no_instructions_make_more_than_was_asked_for(triples: list[tuple[int, int, int]], size_bytes: int) -> None:
    patch = crafted(*triples, diff=bytes(50), extra=bytes(50), size_bytes=size_bytes)
    with suppress(PatchError):
        assert len(apply_patch(b"base", patch, size_bytes)) == size_bytes


@pytest.mark.parametrize(
    "changes", [{"base": "x"}, {"digest": "0"}, {"chunks": ("y",)}, {"size_bytes": 0}, {"chunks": ()}]
)
def test_a_patch_that_describes_nothing_cannot_be_made(changes: dict[str, object]) -> None:
    good: dict[str, object] = {
        "member": "model.tflite", "base": "0" * 64, "digest": "1" * 64, "size_bytes": 5, "chunks": ("1" * 64,),
        "replaces_bytes": 7, "replaces_plain_bytes": 8,
    }  # fmt: skip
    Patch(**good)  # type: ignore[arg-type]  # chosen by name
    with pytest.raises(ValueError, match="patch"):
        Patch(**good | changes)  # type: ignore[arg-type]
