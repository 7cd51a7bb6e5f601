"""The figures in README and docs, from what `make bench` measured, between `<!-- NAME -->` and `<!-- /NAME -->`."""

import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edge_agent.disk import write_atomic

_ROOT = Path(__file__).parent.parent
_TEXTS = Path(__file__).parent / "texts.toml"
Results = Mapping[str, Mapping[str, Any]]

_SUCCESSORS = {
    "recalibrated": "the same weights, other calibration pictures",
    "head_only": "only the last layer trained again",
    "tuned_small": "all layers tuned, small steps (1e-5)",
    "tuned_large": "all layers tuned, large steps (1e-4)",
    "retrained": "trained anew",
}
_WAYS = {
    "ours": "this", "chunks": "without patches", "bsdiff": "bsdiff", "zstd_patch": "zstd --patch-from",
    "cdc64k": "chunks by content, 64 KB", "zlib": "zlib", "file": "the file",
}  # fmt: skip


def write_documents(results: Results, root: Path = _ROOT) -> None:
    """Every table of figures in README and docs anew; the rest of the documents stays as it is."""
    for name, (place, table) in TABLES.items():
        path = root / place
        write_atomic(path, with_table(path.read_text(encoding="utf-8"), name, table(results)).encode())


def with_table(document: str, name: str, table: str) -> str:
    """The document with a table between its marks.

    Raises:
        ValueError: the document has no such marks.
    """
    marks = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    if not marks.search(document):
        raise ValueError(f"no <!-- {name} --> and <!-- /{name} --> in the document")
    return marks.sub(lambda found: f"{found[1]}\n{table}\n\n{found[2]}", document)


def measured(results: Results) -> str:
    """The table of README: a row for each benchmark, with its ratio."""
    texts = tomllib.loads(_TEXTS.read_text(encoding="utf-8"))
    rows = [f"| `{name}`: {texts[name].format_map(_with_mib(figures))} |" for name, figures in results.items()]
    return "\n".join(["| what | ratio | held to |", "|---|---|---|", *rows])


def _with_mib(figures: Mapping[str, Any]) -> dict[str, Any]:
    """The figures, and `x_mib` of each `x_bytes`."""
    sizes = {name.removesuffix("_bytes"): size for name, size in figures.items() if name.endswith("_bytes")}
    return {**{f"{name}_mib": f"{size / 2**20:.1f}" for name, size in sizes.items()}, **figures}


def bytes_of_updates(results: Results) -> str:
    """The table of docs/operations.md, kB."""
    found = results["bytes"]["kilobytes"]
    rows = [
        f"| {text} | " + " | ".join(str(found[name][way]) for way in _WAYS) + " |" for name, text in _SUCCESSORS.items()
    ]
    return "\n".join(["| the successor | " + " | ".join(_WAYS.values()) + " |", "|---" * 8 + "|", *rows])


def beside_tensorflow(results: Results) -> str:
    """The table of docs/quantization.md."""
    f = results["quantize_speed"]
    rows = [
        f"MobileNetV2: time of the process | {f['tensorflow_s']} s | {f['seconds']} s | {f['ratio']}",
        f"peak memory | {f['tensorflow_mb']} MB | {f['memory_mb']} MB | {f['memory_ratio']}",
        f"SNR of the scores | {f['tensorflow_snr_db']} dB | {f['snr_db']} dB | ",
        f"same first answer | {f['tensorflow_agreement']} | {f['agreement']} | ",
        f"latency, one thread | {f['tensorflow_ms']} ms | {f['ms']} ms | {f['latency_ratio']}",
        f"MobileNetV3Small: int8; what --auto takes | {f['auto_tensorflow_ms']} ms | {f['auto_ms']} ms | "
        + str(f["auto_latency_ratio"]),
        f"time of --auto | | {f['auto_s']} s | ",
    ]
    return "\n".join(["| | TensorFlow | here | ratio |", "|---|---|---|---|", *(f"| {row} |" for row in rows)])


TABLES: Mapping[str, tuple[str, Callable[[Results], str]]] = {
    "measured": ("README.md", measured),
    "bytes": ("docs/operations.md", bytes_of_updates),
    "beside TensorFlow": ("docs/quantization.md", beside_tensorflow),
}
