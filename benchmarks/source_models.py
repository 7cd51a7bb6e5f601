"""Every source model of the shared data in four schemes, beside TensorFlow's quantization and plain ai-edge-quantizer.

`python -m benchmarks.source_models [FOLDER]`: the files stay in FOLDER. Writes docs/converter-table.md, which says what
each figure is. TensorFlow and ai-edge-quantizer run in children of their own; latencies are measured here, in turns.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.quantize_speed import TENSORFLOW as TENSORFLOW_INTERPRETER
from benchmarks.releases import SHARED_DATA
from benchmarks.source_models_data import CASES, Case, Data, Sample
from benchmarks.source_models_page import OURS, QUANTIZER, TENSORFLOW, Row, format_page, shortfalls
from converter.convert import convert
from converter.errors import QualityGateError
from converter.frontends.contract import Wanted
from converter.job import Order
from converter.metrics.interval import wilson
from converter.quantization.logits import snr_db
from converter.quantization.observe import answers, latencies_ms
from converter.recipe import Tree
from converter.tflite_schema import read_graph
from edge_agent.disk import write_atomic
from edge_agent.release.archive import read_artifact
from edge_agent.release.manifest import MODEL_FILE
from edge_agent.transform.tensor import Array

_PAGE = Path(__file__).parent.parent / "docs" / "converter-table.md"
_SCHEMES = ("float32", "float16", "dynamic", "int8")
_PEERS = {TENSORFLOW: "tensorflow", QUANTIZER: "quantizer"}
_ROUNDS = 201
_NO_LIMITS = {"min_top1_agreement": 0.0, "min_snr_db": -1000.0}


def main(folder: Path) -> dict[str, float]:
    """Convert, quantize, measure, write the page, and return the figures."""
    folder.mkdir(parents=True, exist_ok=True)
    made = {case.name: _convert(case, folder) for case in CASES}
    plan = [
        {"name": case.name, "path": str(case.path), "kind": case.tensorflow, "inputs": list(case.wanted.inputs)}
        for case in CASES
    ]
    (folder / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    seconds = {TENSORFLOW: _peer(TENSORFLOW_INTERPRETER, TENSORFLOW, folder)}
    seconds[QUANTIZER] = _peer(sys.executable, QUANTIZER, folder)
    rows = []
    for case in CASES:
        files = list(made[case.name].files)
        for by, taken in seconds.items():
            for scheme in _SCHEMES:
                if (key := f"{case.name}.{scheme}") in taken:
                    content = (folder / f"{case.name}.{_PEERS[by]}.{scheme}.tflite").read_bytes()
                    files.append((_row(case, scheme, by, content, taken[key]), content))
        rows += _measured(case, made[case.name], files)
        print(f"{case.name}: measured", file=sys.stderr, flush=True)
    page = format_page(rows, _published(rows))
    write_atomic(_PAGE, page.encode())
    print("\n".join(shortfalls(rows)), file=sys.stderr)
    return _figures(rows)


class _Made:
    """Our files of one model, with the samples that they are judged by."""

    def __init__(self, names: Sequence[str], data: Data, files: Sequence[tuple[Row, bytes]]) -> None:
        self.names, self.data, self.files = names, data, files


def _convert(case: Case, folder: Path) -> _Made:
    """All schemes. The other ones are made of the float model, so that a source is read once."""
    calibration, model = folder / f"{case.name}.npz", folder / f"{case.name}.float32.tflite"
    row, content = _converted(case, "float32", case.path, None, folder)
    model.write_bytes(content)
    files = [(row, content)]
    names = read_graph(content).input_names
    data = case.data(model)
    columns = zip(*(_ordered(sample, names) for sample in data.calibration), strict=True)
    arrays = dict(zip(names, map(np.stack, columns), strict=True))
    np.savez(calibration, **arrays)  # type: ignore[arg-type]  # numpy's stub takes the names for its own options
    files += [_converted(case, scheme, model, calibration, folder) for scheme in _SCHEMES[1:]]
    print(f"{case.name}: converted", file=sys.stderr, flush=True)
    return _Made(names, data, files)


def _converted(case: Case, scheme: str, source: Path, calibration: Path | None, folder: Path) -> tuple[Row, bytes]:
    options: Tree = {"scheme": scheme, "task": case.task, "input": {"kind": "tensor"}, "metadata": False}
    order = Order(
        source,
        folder / f"model-{len(list(folder.glob('model-*.edge'))) + 1}.edge",
        options=options,
        calibrate=calibration,
        with_report=False,
        wanted=case.wanted if source == case.path else Wanted(),
    )
    started, refused = time.perf_counter(), False
    try:
        convert(order)
        seconds = time.perf_counter() - started
    except QualityGateError:
        seconds, refused = time.perf_counter() - started, True
        convert(replace(order, options={**options, "limits": _NO_LIMITS}))
    content = read_artifact(order.output).members[MODEL_FILE]
    return replace(_row(case, scheme, OURS, content, seconds), refused=refused), content


def _row(case: Case, scheme: str, by: str, content: bytes, seconds: float) -> Row:
    """Without what is still to be measured."""
    return Row(case.name, scheme, by, len(content), None, 1.0, 0, 0, 0.0, round(seconds, 1))


def _peer(interpreter: str, by: str, folder: Path) -> dict[str, float]:
    command = [interpreter, "-m", f"benchmarks.source_models_{_PEERS[by]}", str(folder)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    taken: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return taken


def _ordered(sample: Sample, names: Sequence[str]) -> list[Array]:
    return [sample[name if name in sample else ""] for name in names]


def _measured(case: Case, made: _Made, files: Sequence[tuple[Row, bytes]]) -> list[Row]:
    """The rows with fidelity and latency, those of one scheme beside each other."""
    samples = [_ordered(judged.sample, made.names) for judged in made.data.judged]
    labels = [judged.label for judged in made.data.judged]
    expected = list(answers(files[0][1], samples))
    first = [case.first(outputs) for outputs in expected]
    times = latencies_ms([content for _, content in files], samples[0], rounds=_ROUNDS)
    rows = []
    for (row, content), latency in zip(files, times, strict=True):
        found = list(answers(content, samples))
        told = [case.first(outputs) for outputs in found]
        snr = snr_db(expected, found, [False] * len(expected[0])) if row.scheme != "float32" else None
        rows.append(
            replace(
                row,
                snr_db=None if snr is None else round(snr, 1),
                same=round(float(np.mean([a == b for a, b in zip(first, told, strict=True)])), 3),
                right=sum(a == b for a, b in zip(told, labels, strict=True)),
                labeled=sum(label is not None for label in labels),
                latency_ms=round(latency, 4),
            )
        )
    return sorted(rows, key=lambda row: _SCHEMES.index(row.scheme))


def _published(rows: Sequence[Row]) -> str:
    """The one accuracy that has been published of a model with labeled data here."""
    checks = json.loads((SHARED_DATA / "expected.json").read_text(encoding="utf-8"))["checks"]
    published = next(check for check in checks if check["id"] == "har:accuracy")["keras_accuracy"]
    (row,) = (row for row in rows if row.model.startswith("har_") and row.scheme == "float32")
    low, high = wilson(row.right, row.labeled)
    within = "within" if low <= published <= high else "outside"
    return (
        f"Measured with the source of har_cnn_8x8x8: {published}. Ours in float32: {row.right / row.labeled:.4f}, 95 % "
        f"interval {low:.4f} to {high:.4f}; the former is {within} it."
    )


def _figures(rows: Sequence[Row]) -> dict[str, float]:
    """The worst of int8, over all models."""
    by: Mapping[tuple[str, str], Row] = {(row.model, row.by): row for row in rows if row.scheme == "int8"}
    figures: dict[str, float] = {"beaten_rows": len(shortfalls(rows)), "rows": len(rows)}
    for peer, short in _PEERS.items():
        pairs = [(by[model, OURS], row) for (model, who), row in by.items() if who == peer]
        latency = "ratio" if peer == TENSORFLOW else f"{short}_latency_ratio"
        figures[latency] = round(max(a.latency_ms / b.latency_ms for a, b in pairs), 3)
        figures[f"{short}_snr_gain_db"] = round(min((a.snr_db or 0) - (b.snr_db or 0) for a, b in pairs), 1)
        figures[f"{short}_same_gain"] = round(min(a.same - b.same for a, b in pairs), 3)
    return figures


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(main(Path(sys.argv[1]))))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            print(json.dumps(main(Path(temporary))))
