"""Bytes of an update: what a device really fetches of five kinds of successor of a model, beside what else there is.

The models are trained for it (`bytes_models`) and converted to int8 by `edgectl convert`'s own code. A device that has
the base fetches the successor twice, with the patch that `edgectl push` would publish and without; what its transport
hands over is counted as it travels, packed. Beside it, for the whole `.edge` file: bsdiff, `zstd --patch-from` (where
there is a zstd command), content-defined chunks of 64 KB in the manner of casync, zlib, and the file itself.

`ratio` is of the model, the member that matters: the worst of its patches as they travel, of bsdiff of the model;
`whole_ratio`, where there is no patch, the worst of its chunks, of zlib of the model as a whole. `overhead_kb` is what
the whole update (index, manifest, report and golden vectors too) has more than bsdiff of the whole file, or than zlib
of it where there is no patch; `never_more` is the worst of it, of what chunks alone would cost.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import bsdiff4

from converter.convert import convert
from converter.job import Order
from converter.publish.parcel import Parcel, wrap
from converter.publish.patches import Base, Patches, make_patches
from edge_agent.disk import open_disk
from edge_agent.errors import Reason
from edge_agent.release.archive import Artifact, read_artifact
from edge_agent.release.chunks import cut, digest_of_chunk, pack, unpack
from edge_agent.release.manifest import MODEL_FILE
from edge_agent.update.fetch import fetch_release
from edge_agent.update.patcher import patch_in_child
from edge_agent.update.store import ReleaseStore
from examples.digits import dataset

_PAIRS = ("recalibrated", "head_only", "tuned_small", "tuned_large", "retrained")
_COLUMNS = ("ours", "chunks", "bsdiff", "zstd_patch", "cdc64k", "zlib", "file")
_RECIPE = Path(dataset.__file__).parent / "digits.toml"
# Content-defined chunks: cut where the low bits of a rolling sum of 64 bytes are zero, 64 KB apart on average.
_CDC_BITS, _CDC_LEAST, _CDC_MOST = 16, 16 << 10, 256 << 10


def main() -> dict[str, object]:
    """Measure, print one JSON line and a table, and return the figures."""
    with tempfile.TemporaryDirectory() as temporary:
        artifacts = _make_artifacts(Path(temporary))
        rows = {name: _measure(artifacts["base"], artifacts[name], Path(temporary) / name) for name in _PAIRS}
    patched = [row for row in rows.values() if row["model_patch"]]
    whole = [row for row in rows.values() if not row["model_patch"]]
    figures: dict[str, object] = {
        "ratio": _worst(patched, "model_patch", "model_bsdiff"),
        "whole_ratio": _worst(whole, "model_chunks", "model_zlib"),
        "overhead_kb": max(_overhead_kb(patched, "bsdiff"), _overhead_kb(whole, "zlib")),
        "never_more": max(round(row["ours"] / row["chunks"], 4) for row in rows.values()),
        "kilobytes": {name: {key: round(value / 1000, 1) for key, value in row.items()} for name, row in rows.items()},
    }
    print(json.dumps({"benchmark": "bytes", **figures}))
    print(f"{'KB':16}" + "".join(f"{column:>12}" for column in _COLUMNS), file=sys.stderr)
    for name, row in rows.items():
        cells = (f"{row[column] / 1000:>12.1f}" if column in row else f"{'-':>12}" for column in _COLUMNS)
        print(f"{name:16}" + "".join(cells), file=sys.stderr)
    return figures


def _worst(rows: Sequence[dict[str, int]], ours: str, of: str) -> float:
    return max((round(row[ours] / row[of], 4) for row in rows), default=0.0)


def _overhead_kb(rows: Sequence[dict[str, int]], of: str) -> float:
    return max((round((row["ours"] - row[of]) / 1000, 1) for row in rows), default=0.0)


def _make_artifacts(folder: Path) -> dict[str, Artifact]:
    trained = folder / "trained"
    trained.mkdir()
    subprocess.run([sys.executable, "-m", "benchmarks.bytes_models", str(trained)], check=True, stdout=sys.stderr)
    calibrations = {"first": folder / "first", "second": folder / "second"}
    dataset.write_pictures(calibrations["first"], 150, held_out=False)
    dataset.write_pictures(calibrations["second"], 150, held_out=False, start=150)
    made = {}
    for number, name in enumerate(("base", *_PAIRS)):
        source = trained / f"{'base' if name == 'recalibrated' else name}.keras"
        output = folder / f"digits-{number}.edge"
        calibrate = calibrations["second" if name == "recalibrated" else "first"]
        convert(Order(source, output, recipe=_RECIPE, options={"scheme": "int8"}, calibrate=calibrate))
        made[name] = read_artifact(output)
    return made


def _measure(base: Artifact, new: Artifact, folder: Path) -> dict[str, int]:
    """Bytes by column, and of the model alone."""
    patches = make_patches(new.members, [Base("base", 1, base.members)])
    old_file, new_file = base.path.read_bytes(), new.path.read_bytes()
    model_patch = sum(
        len(pack(chunk))
        for patch in patches.patches
        if patch.member == MODEL_FILE
        for chunk in _chunks_of(patch.chunks, patches)
    )
    found = {
        "ours": _fetched_bytes(base, new, patches, folder / "patched"),
        "chunks": _fetched_bytes(base, new, Patches(), folder / "chunks"),
        "bsdiff": len(bsdiff4.diff(old_file, new_file)),
        "cdc64k": _cdc_bytes(old_file, new_file),
        "zlib": len(zlib.compress(new_file, 6)),
        "file": len(new_file),
        "model_patch": model_patch,
        "model_bsdiff": len(bsdiff4.diff(base.members[MODEL_FILE], new.members[MODEL_FILE])),
        "model_chunks": sum(len(pack(chunk)) for chunk in cut(new.members[MODEL_FILE])),
        "model_zlib": len(zlib.compress(new.members[MODEL_FILE], 6)),
    }
    zstd = _zstd_bytes(base.path, new.path, folder)
    return found if zstd is None else {**found, "zstd_patch": zstd}


def _chunks_of(digests: Sequence[str], patches: Patches) -> Iterator[bytes]:
    return (unpack(patches.chunks[digest], digest) for digest in digests)


class _Counting:
    """A transport out of parcels; counts payloads as they travel."""

    def __init__(self, *parcels: Parcel) -> None:
        self._payloads = {digest: payload for parcel in parcels for digest, payload in parcel.chunks.items()}
        self.bytes = 0

    def collect(
        self,
        digests: Sequence[str],
        take: Callable[[str, bytes], None],
        *,
        cancelled: Callable[[], bool],
        trouble: Callable[[Reason, str], None],  # noqa: ARG002  # nothing is missing here
    ) -> None:
        for digest in digests:
            assert not cancelled()
            payload = self._payloads[digest]
            self.bytes += len(payload)
            take(digest, unpack(payload, digest))


def _fetched_bytes(base: Artifact, new: Artifact, patches: Patches, state: Path) -> int:
    """What a device that has `base` fetches to have `new`."""
    store = ReleaseStore(open_disk(state), state)
    old, parcel = (
        wrap(each, "stable", datetime.now(UTC)).with_patches(made) for each, made in ((base, Patches()), (new, patches))
    )
    transport = _Counting(old, parcel)
    troubles: list[str] = []
    for target in (old.target, parcel.target):
        transport.bytes = 0
        report = fetch_release(
            target,
            store,
            transport,
            cancelled=lambda: False,
            trouble=lambda _, detail: troubles.append(detail),
            patcher=patch_in_child,
        )
        assert report is not None
    assert not troubles, troubles
    assert store.is_sound(parcel.target.digest)
    return transport.bytes


def _zstd_bytes(old: Path, new: Path, folder: Path) -> int | None:
    if shutil.which("zstd") is None:
        return None
    output = folder / "patch.zst"
    command = ["zstd", "-qq", "-19", "--long=27", f"--patch-from={old}", str(new), "-o", str(output)]
    subprocess.run(command, check=True)
    return output.stat().st_size


def _cdc_bytes(old: bytes, new: bytes) -> int:
    """The chunks of `new` that `old` has not, packed as ours are."""
    held = {digest_of_chunk(chunk) for chunk in _cdc(old)}
    return sum(len(zlib.compress(chunk, 6)) for chunk in _cdc(new) if digest_of_chunk(chunk) not in held)


def _cdc(content: bytes) -> Iterator[bytes]:
    gear = [Random(number).getrandbits(64) for number in range(256)]
    mask = ((1 << _CDC_BITS) - 1) << (64 - _CDC_BITS)  # the high bits depend on the last 64 bytes, the low ones on one
    start = 0
    while start < len(content):
        end = min(start + _CDC_MOST, len(content))
        rolled, at = 0, min(start + _CDC_LEAST, end)
        for at in range(at, end):  # noqa: B020  # from the least size on
            rolled = ((rolled << 1) + gear[content[at]]) & 0xFFFFFFFFFFFFFFFF
            if not rolled & mask:
                end = at + 1
                break
        yield content[start:end]
        start = end


if __name__ == "__main__":
    main()
