"""`report.html`: one file that explains a conversion, without scripts and without anything fetched.

Says what it is given and leaves out what nobody measured. Same report, same bytes. Measuring is left to those who fill
the sections, the pictures to `charts`, the tables of metrics to `metrics`.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from converter.fidelity import Fidelity, figure_rows
from converter.layer_list import short_name
from converter.report.charts import COLORS, histogram, layer_chart, pareto_chart
from converter.report.layout import section, table
from converter.report.markup import Markup, element, joined, void
from converter.report.metrics import evaluation
from converter.report.sections import LayerError, Sections
from converter.report.style import STYLE
from edge_agent.errors import counted

MARK = b"<!doctype html><!-- edge-deploy report -->"
_SHOWN_RANGES = 12


@dataclass(frozen=True, slots=True)
class Report:
    """All that is told of one conversion."""

    name: str
    version: str
    task: str
    fidelity: Fidelity | None  # None: a search found nothing, so that there is no model to tell of
    sections: Sections
    notes: Sequence[str]
    limits: Mapping[str, Any]  # what probe and trial hold the release to, as the manifest has it
    recipe: Mapping[str, Any]
    provenance: Mapping[str, Any]  # source, data, tools
    refused: str | None = None  # what the gate said; None: the artifact was written
    digest: str | None = None  # of the artifact
    size_bytes: int | None = None  # of the artifact


def format_report(report: Report) -> bytes:
    """The whole page."""
    title = f"{report.name} {report.version}: conversion report"
    head = element(
        "head",
        void("meta", charset="utf-8"),
        void("meta", name="viewport", content="width=device-width,initial-scale=1"),
        element("title", title),
        element("style", Markup(STYLE)),
    )
    parts = (
        _header(report), _verdict(report), *_of_model(report, report.fidelity), _candidates(report),
        evaluation(report.sections.evaluation), _layers(report), _ranges(report), _left_float(report),
        _compression(report), _notes(report), _limits(report), _origin(report),
    )  # fmt: skip
    body = element("body", element("main", *(part for part in parts if part is not None)))
    return MARK + b"\n" + element("html", head, body, lang="en").encode() + b"\n"


def _header(report: Report) -> Markup:
    source = report.provenance.get("source")
    origin = f", from {source['name']}" if isinstance(source, Mapping) and "name" in source else ""
    scheme = f", scheme {report.fidelity.scheme}" if report.fidelity is not None else ""
    about = f"{report.task}{scheme}{origin}"
    return element(
        "header", element("h1", f"{report.name} {report.version}"), element("p", about, class_="soft")
    )  # fmt: skip


def _verdict(report: Report) -> Markup:
    if report.refused is not None:
        return element("div", f"Refused: {report.refused}", class_="verdict bad", role="status")
    return element("div", "Passed every limit that was set", class_="verdict good", role="status")


def _of_model(report: Report, fidelity: Fidelity | None) -> tuple[Markup | None, ...]:
    if fidelity is None:
        return ()
    return _tiles(fidelity), _fidelity(fidelity), _changed(report, fidelity.scheme)


def _tiles(fidelity: Fidelity) -> Markup:
    comparison = fidelity.comparison
    tiles = [
        (row.name, row.converted, f"{row.ratio} of {row.original}" if row.original else "")
        for row in figure_rows(comparison)
    ]
    if comparison.top1_agreement is not None:
        tiles.append(("top-1 agreement", f"{comparison.top1_agreement:.2%}", f"of {comparison.samples} samples"))
    ratios = [output.snr_db for output in comparison.outputs if output.snr_db is not None]
    if ratios:
        tiles.append(("SNR", f"{min(ratios):.1f} dB", "of the worst output"))
    boxes = [
        element("div", element("span", name), element("b", value), element("span", more), class_="tile")
        for name, value, more in tiles
    ]
    return element("div", *boxes, class_="tiles")


def _fidelity(fidelity: Fidelity) -> Markup:
    comparison = fidelity.comparison
    figures = table(
        ["", "float32", fidelity.scheme, "ratio"],
        [(row.name, row.original, row.converted, row.ratio) for row in figure_rows(comparison)],
    )
    source = "representative" if comparison.representative else "made-up"
    lines = [f"Run on {counted(comparison.samples, f'{source} sample')}; latencies are of the machine that converted."]
    if comparison.max_disagreement is not None and comparison.mean_disagreement is not None:
        lines.append(
            f"Scores differ by {comparison.mean_disagreement:.4f} in the mean, "
            f"{comparison.max_disagreement:.4f} at the most."
        )
    if comparison.golden_vectors:
        vectors = counted(comparison.golden_vectors, "golden vector")
        lines.append(f"{vectors} with a tolerance of {comparison.golden_tolerance}.")
    outputs = [
        (output.name, f"{output.max_abs:.4g}", "" if output.snr_db is None else f"{output.snr_db:.1f}")
        for output in comparison.outputs
    ]
    return section(
        "Size, latency, fidelity",
        figures,
        element("p", " ".join(lines), class_="soft"),
        table(["output", "largest error", "SNR, dB"], outputs) if outputs else None,
    )


def _changed(report: Report, scheme: str) -> Markup | None:
    changed = report.sections.changed
    if not changed:
        return None
    cells = [
        element(
            "div",
            _picture(example.picture_png, example.sample) if example.picture_png else None,
            element("div", example.sample),
            element("div", f"float: {example.before}", class_="was"),
            element("div", f"{scheme}: {example.after}"),
            class_="cell",
        )
        for example in changed
    ]
    return section(
        "Answers that changed",
        element("p", f"{counted(len(changed), 'example')} of samples with another first answer.", class_="soft"),
        element("div", *cells, class_="grid"),
    )


def _picture(content: bytes, sample: str) -> Markup:
    return void(
        "img", src=f"data:image/png;base64,{base64.b64encode(content).decode()}", alt=f"What {sample} looks like"
    )


def _candidates(report: Report) -> Markup | None:
    candidates = report.sections.candidates
    if not candidates:
        return None
    rows = [
        (
            f"{number}",
            candidate.label,
            f"{candidate.size_bytes:,}",
            f"{candidate.fidelity:.4g}",
            "" if candidate.latency_ms is None else f"{candidate.latency_ms:.3g}",
            candidate.where,
            ", ".join(
                word for word, true in (("on the front", candidate.pareto), ("chosen", candidate.chosen)) if true
            ),
        )
        for number, candidate in enumerate(candidates, 1)
    ]
    head = ["", "candidate", "bytes", candidates[0].fidelity_name, "ms", "on", ""]
    return section("What was tried", element("figure", pareto_chart(candidates), class_="wide"), table(head, rows))


def _layers(report: Report) -> Markup | None:
    layers = report.sections.layers
    if not layers:
        return None
    kinds = list(dict.fromkeys(layer.precision for layer in layers))
    colors = {kind: COLORS[min(number, len(COLORS) - 1)] for number, kind in enumerate(kinds)}
    key = [element("span", element("i", class_=f"k-{color}"), kind) for kind, color in colors.items()]
    rows = [
        (
            f"{number}",
            short_name(layer.name),
            layer.operator,
            layer.precision,
            "equal" if layer.snr_db is None else f"{layer.snr_db:.1f}",
            "" if layer.macs is None else f"{layer.macs:,}",
            f"{layer.size_bytes:,}" if layer.size_bytes else "",
        )
        for number, layer in enumerate(layers, 1)
    ]
    worst = sorted((layer for layer in layers if layer.snr_db is not None), key=lambda layer: layer.snr_db or 0.0)[:3]
    said = "; ".join(f"{short_name(layer.name)} ({layer.operator}) {layer.snr_db:.1f} dB" for layer in worst)
    head = ["", "layer", "operator", "precision", "SNR, dB", "MACs", "bytes of weights"]
    return section(
        "Error of each layer",
        element("p", *key, class_="key"),
        element("figure", layer_chart(layers, colors), class_="wide"),
        element("p", f"Farthest from the float model: {said}.", class_="soft") if said else None,
        element("details", element("summary", f"all {len(layers)} layers"), table(head, rows)),
    )


def _ranges(report: Report) -> Markup | None:
    """Those of the layers that lose most come first."""
    if not report.sections.ranges:
        return None
    lost = {layer.name: layer.snr_db for layer in report.sections.layers if layer.snr_db is not None}
    ordered = sorted(report.sections.ranges, key=lambda each: lost.get(each.name, float("inf")))
    cells = [
        element("figure", element("figcaption", short_name(tensor.name)), histogram(tensor), class_="cell")
        for tensor in ordered
    ]
    more = len(cells) - _SHOWN_RANGES
    hidden = element(
        "details", element("summary", f"{more} more"), element("div", *cells[_SHOWN_RANGES:], class_="grid")
    )
    return section(
        "Ranges of activations",
        element("p", "Values of each layer in the float model, those first that lose most.", class_="soft"),
        element("div", *cells[:_SHOWN_RANGES], class_="grid"),
        hidden if more > 0 else None,
    )


def _left_float(report: Report) -> Markup | None:
    left = report.fidelity.float_operators if report.fidelity is not None else {}
    if not left:
        return None
    named = [
        (
            name,
            f"{count}",
            ", ".join(short_name(layer.name) for layer in report.sections.layers if _is_left(layer, name)),
        )
        for name, count in sorted(left.items())
    ]
    return section("Operators left in float", table(["operator", "times", "layers"], named))


def _is_left(layer: LayerError, operator: str) -> bool:
    return layer.operator == operator and layer.precision == "float32"


def _compression(report: Report) -> Markup | None:
    steps = report.sections.compression
    if not steps:
        return None
    rows = [
        (
            step.name,
            json.dumps(dict(step.settings), sort_keys=True, default=str),
            step.metric_name,
            f"{step.metric_before:.4g}",
            f"{step.metric_after:.4g}",
            f"{step.size_bytes:,}",
            f"{step.seconds:.0f}",
        )
        for step in steps
    ]
    head = ["step", "settings", "metric", "before", "after", "bytes, zlib", "s"]
    return section("Compression before quantization", table(head, rows))


def _notes(report: Report) -> Markup | None:
    if not report.notes:
        return None
    return section("Notes", element("ul", *(element("li", note) for note in report.notes)))


def _limits(report: Report) -> Markup | None:
    if not report.limits:
        return None
    rows = [(name, "not judged" if value is None else f"{value}") for name, value in sorted(report.limits.items())]
    about = "Probe and trial hold the release to these on the device itself (docs/trial.md)."
    return section(
        "What a device will be held to", element("p", about, class_="soft"), table(["limit", "value"], rows)
    )  # fmt: skip


def _origin(report: Report) -> Markup:
    artifact = None
    if report.digest is not None:
        artifact = element("p", f"Artifact of {report.size_bytes:,} bytes, sha-256 ", element("code", report.digest))
    return section(
        "Where it came from",
        artifact,
        element("h3", "Provenance"),
        _tree(report.provenance),
        element("h3", "Recipe"),
        _tree(report.recipe),
    )


def _tree(tree: Mapping[str, Any]) -> Markup:
    return element("pre", joined(*_lines(json.dumps(tree, indent=1, sort_keys=True, ensure_ascii=False, default=str))))


def _lines(text: str) -> list[str]:
    return [part for line in text.splitlines() for part in (line, Markup("\n"))]
