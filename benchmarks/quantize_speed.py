"""int8 by us and by TensorFlow's own post-training quantization, from the same model and 100 pictures, side by side.

`python -m benchmarks.quantize_speed [FOLDER]`: models in FOLDER are kept and used again. Time is that of a whole
process, imports included; memory is the most it held, our child's added to its parent's. Fidelity is on pictures that
neither has seen. TensorFlow runs in a child of its own, by the interpreter that EDGE_DEPLOY_TENSORFLOW names, else this
one.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.quantize_effects import held_out
from converter.convert import convert
from converter.job import Order
from converter.quantization.auto import Auto
from converter.quantization.logits import snr_db
from converter.quantization.observe import answers, latencies_ms
from converter.quantization.search import Limits
from edge_agent.release.archive import read_artifact
from edge_agent.release.manifest import MODEL_FILE
from examples.digits import dataset

TENSORFLOW = os.environ.get("EDGE_DEPLOY_TENSORFLOW", sys.executable)
_PICTURES, _ROUNDS, _TURNS = 100, 51, 2


@dataclass(frozen=True)
class Run:
    """One quantization, in a process of its own."""

    content: bytes
    seconds: float
    work_s: float  # without the imports
    memory_mb: float


def main(folder: Path) -> dict[str, float]:
    folder.mkdir(exist_ok=True, parents=True)
    pictures = folder / "pictures"
    if not pictures.exists():
        dataset.write_pictures(pictures, _PICTURES, held_out=False)
        for path in pictures.iterdir():
            Image.open(path).convert("RGB").save(path)
    subprocess.run([TENSORFLOW, "-m", "benchmarks.quantize_models", str(folder)], check=True, stdout=sys.stderr)
    figures: dict[str, float] = {}
    for name in ("mobilenet_v2", "mobilenet_v3_small"):
        float_model = (folder / f"{name}.tflite").read_bytes()
        turns = [
            (
                _run(TENSORFLOW, "benchmarks.quantize_tensorflow", folder / f"{name}_saved", pictures, folder),
                _run(sys.executable, "benchmarks.quantize_ours", folder / f"{name}.tflite", pictures, folder),
            )
            for _ in range(_TURNS)
        ]
        theirs, ours = (min(runs, key=lambda run: run.seconds) for runs in zip(*turns, strict=True))
        _show(name, float_model, {"TensorFlow": theirs, "ours": ours}, figures)
        if name == "mobilenet_v3_small":
            figures.update(_auto(folder, pictures, theirs))
    return figures


def _run(interpreter: str, module: str, source: Path, pictures: Path, folder: Path) -> Run:
    result = folder / "result.tflite"
    started = time.perf_counter()
    code = (
        "import resource, runpy, sys; runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True);"
        "print(sum(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))"
    )
    command = [interpreter, "-c", code, module, str(source), str(pictures), str(result)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    seconds = time.perf_counter() - started
    work_s, kilobytes = map(float, done.stdout.split()[-2:])
    return Run(result.read_bytes(), seconds, work_s, kilobytes / 1024)


def _show(name: str, float_model: bytes, runs: dict[str, Run], figures: dict[str, float]) -> None:
    samples = held_out((1, 224, 224, 3), 200)
    expected = list(answers(float_model, samples))
    times = latencies_ms([float_model, *(run.content for run in runs.values())], samples[0], rounds=_ROUNDS)
    print(f"{name}: float {len(float_model):,} B, {times[0]:.3f} ms", file=sys.stderr)
    snr, agreement = {}, {}
    for (who, run), latency in zip(runs.items(), times[1:], strict=True):
        found = list(answers(run.content, samples))
        snr[who] = snr_db(expected, found, (False,))
        agreement[who] = float(np.mean([a[0].argmax() == b[0].argmax() for a, b in zip(expected, found, strict=True)]))
        print(
            f"  {who:<10} {run.seconds:6.2f} s ({run.work_s:.2f} without imports) {run.memory_mb:6.0f} MB "
            f"{len(run.content):>10,} B {latency:7.3f} ms  {snr[who]:5.1f} dB  top-1 {agreement[who]:.4f}",
            file=sys.stderr,
        )
    if name == "mobilenet_v2":
        mine, other = runs["ours"], runs["TensorFlow"]
        figures["ratio"] = round(mine.seconds / other.seconds, 3)
        figures["work_ratio"] = round(mine.work_s / other.work_s, 3)
        figures["memory_ratio"] = round(mine.memory_mb / other.memory_mb, 3)
        figures["snr_gain_db"] = round(snr["ours"] - snr["TensorFlow"], 2)
        figures["agreement_gain"] = round(agreement["ours"] - agreement["TensorFlow"], 4)
        figures["latency_ratio"] = round(times[2] / times[1], 3)
        for prefix, run, who, latency in (("", mine, "ours", times[2]), ("tensorflow_", other, "TensorFlow", times[1])):
            figures[f"{prefix}s" if prefix else "seconds"] = round(run.seconds, 2)
            figures[f"{prefix}mb" if prefix else "memory_mb"] = round(run.memory_mb)
            figures[f"{prefix}snr_db"] = round(snr[who], 1)
            figures[f"{prefix}agreement"] = round(agreement[who], 4)
            figures[f"{prefix}ms"] = round(latency, 2)


def _auto(folder: Path, pictures: Path, theirs: Run) -> dict[str, float]:
    started = time.perf_counter()
    order = Order(
        folder / "mobilenet_v3_small.tflite",
        folder / "auto-1.edge",
        options={"task": "classification", "input": {"kind": "image", "mean": [127.5], "std": [127.5]}},
        calibrate=pictures,
        force=True,
        auto=Auto(Limits(0.01)),
    )
    done = convert(order)
    seconds = time.perf_counter() - started
    print(f"{done.curve}\n" + "\n".join(done.notes), file=sys.stderr)
    content = read_artifact(order.output).members[MODEL_FILE]
    mine, other = latencies_ms([content, theirs.content], held_out((1, 224, 224, 3), 1)[0], rounds=_ROUNDS)
    print(f"  --auto     {seconds:6.2f} s: {mine:.3f} ms, TensorFlow's int8 {other:.3f} ms", file=sys.stderr)
    return {
        "auto_latency_ratio": round(mine / other, 3),
        "auto_s": round(seconds, 1),
        "auto_ms": round(mine, 2),
        "auto_tensorflow_ms": round(other, 2),
    }


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(main(Path(sys.argv[1]))))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            print(json.dumps(main(Path(temporary))))
