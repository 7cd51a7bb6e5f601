"""docs/converter-table.md out of what `source_models` measured, with a line for every row that another tool beats."""

from collections.abc import Sequence
from dataclasses import dataclass

OURS, TENSORFLOW, QUANTIZER = "ours", "TensorFlow", "ai-edge-quantizer"
_SAME_LATENCY = 1.05  # within it two latencies count as equal: so far apart are two runs of one file

_BEGINNING = """\
# Source models by scheme

Written by `python -m benchmarks.source_models`, part of `make bench`; do not edit. Every source model of the shared
data as `edgectl convert` makes it, beside TensorFlow's own post-training quantization (where TensorFlow reads the
source) and plain ai-edge-quantizer (stock recipe, own calibration, on our float `.tflite`), with the same samples to
calibrate on.

* SNR: signal to noise of all outputs against the float model's, dB, on samples that were not calibrated on.
* same: share of these samples with the float model's answer (first class; likeliest cell of FastestDet; speech or not).
* right: of the samples whose class is known. The logs of HAR are labeled; of the others two or three samples, which
  prove nothing.
* ms: an invoke with one thread on the machine of the run, all files of a model in turns in one process. Only ratios
  within a model mean anything.
* s: ours is a whole conversion with its child processes, comparison and golden vectors; what is not float32 starts at
  the float32 row's model. The others' is their work alone, without the imports.
* refused: `edgectl convert` writes no release of it, for it misses the limits of its scheme; measured all the same.
  Classifiers are held to their first class; the others to task `raw`: nine of ten samples with all values within 5 %.

| model | scheme | by | bytes | SNR | same | right | ms | s | |
|---|---|---|---|---|---|---|---|---|---|
"""
_NOTES = """
## Where ours is not equal or better

As printed above: more bytes, a lower SNR, fewer same or right answers, or a latency above {same:g} of theirs.

"""


@dataclass(frozen=True)
class Row:
    """One file of one model. Figures are rounded as they are printed."""

    model: str
    scheme: str
    by: str
    size_bytes: int
    snr_db: float | None  # None: the model that the others are held against
    same: float
    right: int
    labeled: int
    latency_ms: float
    seconds: float
    refused: bool = False


def format_page(rows: Sequence[Row], published: str) -> str:
    """The whole document."""
    notes = shortfalls(rows) or ["Nowhere."]
    lines = "".join(f"{_line(row)}\n" for row in rows)
    listed = "".join(f"* {note}\n" for note in notes)
    return f"{_BEGINNING}{lines}\n{published}\n{_NOTES.format(same=_SAME_LATENCY)}{listed}"


def shortfalls(rows: Sequence[Row]) -> list[str]:
    """What another tool does better, a line for each of its rows."""
    ours = {(row.model, row.scheme): row for row in rows if row.by == OURS}
    found = []
    for other in rows:
        mine = ours[other.model, other.scheme]
        if other is not mine and (worse := _worse(mine, other)):
            found.append(f"{other.model}, {other.scheme}, than {other.by}: {'; '.join(worse)}")
    return found


def parse_rows(page: str) -> list[Row]:
    """The rows of a page, to check it by."""
    rows = []
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) != 10 or not cells[3].replace(",", "").isdigit():
            continue
        model, scheme, by, size, snr, same, right, latency, seconds, refused = cells
        count, _, labeled = right.partition("/")
        rows.append(
            Row(
                model, scheme, by, int(size.replace(",", "")), None if snr == "-" else float(snr), float(same),
                int(count) if labeled else 0, int(labeled or 0), float(latency), float(seconds), refused == "refused",
            )
        )  # fmt: skip
    return rows


def _line(row: Row) -> str:
    snr = "-" if row.snr_db is None else f"{row.snr_db:.1f}"
    right = f"{row.right}/{row.labeled}" if row.labeled else "-"
    return (
        f"| {row.model} | {row.scheme} | {row.by} | {row.size_bytes:,} | {snr} | {row.same:.3f} | {right} "
        f"| {row.latency_ms:.4f} | {row.seconds:.1f} | {'refused' if row.refused else ''} |"
    )


def _worse(mine: Row, other: Row) -> list[str]:
    found = []
    if mine.size_bytes > other.size_bytes:
        found.append(f"{mine.size_bytes - other.size_bytes:,} bytes more")
    if mine.snr_db is not None and other.snr_db is not None and mine.snr_db < other.snr_db:
        found.append(f"SNR {other.snr_db - mine.snr_db:.1f} dB lower")
    if mine.same < other.same:
        found.append(f"same answers {mine.same:.3f}, theirs {other.same:.3f}")
    if mine.right < other.right:
        found.append(f"right answers {mine.right}, theirs {other.right}")
    if mine.latency_ms > other.latency_ms * _SAME_LATENCY:
        found.append(f"latency {mine.latency_ms / other.latency_ms:.2f} of theirs")
    return found
