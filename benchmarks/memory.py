"""Memory of a worker against a bare script that loads numpy, pillow and the interpreter with the same model.

Each runs alone, in turn, and is measured after it has run 1080p JPEG pictures through MobileNetV2: the proportional
set size. It falls for both when other processes of the machine use the same libraries, so neighbors are compared.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from threading import Event

from benchmarks.releases import full_hd_pictures, mobilenet_release
from edge_agent.config.sources import FolderSource
from edge_agent.inference.ipc import Result, StageStart, Start, Word
from edge_agent.inference.process import WorkerProcess, read_pss_bytes

_ROUNDS = 3
_FRAMES = 100
_BARE_SCRIPT = """
import sys
from pathlib import Path
import numpy as np
from PIL import Image
from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter(model_path=sys.argv[1], num_threads=1)
interpreter.allocate_tensors()
given, found = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
pictures = sorted(Path(sys.argv[2]).iterdir())
for number in range(int(sys.argv[3])):
    picture = Image.open(pictures[number % len(pictures)])
    picture.draft("RGB", (224, 224))
    interpreter.set_tensor(given, np.asarray(picture.resize((224, 224)))[None])
    interpreter.invoke()
    interpreter.get_tensor(found)
print("done", flush=True)
sys.stdin.read()
"""


def main() -> dict[str, float]:
    """Measure, print one JSON line and a table, and return the figures."""
    with tempfile.TemporaryDirectory() as temporary:
        release = mobilenet_release(Path(temporary) / "release")
        pictures = full_hd_pictures(Path(temporary) / "pictures")
        rounds = [
            (_bare_pss_bytes(release / "model.tflite", pictures), _worker_pss_bytes(release, pictures))
            for _ in range(_ROUNDS)
        ]
    bare, worker = sorted(rounds, key=lambda pair: pair[1] / pair[0])[_ROUNDS // 2]
    figures = {"bare_pss_bytes": bare, "worker_pss_bytes": worker, "ratio": round(worker / bare, 3)}
    print(json.dumps({"benchmark": "memory", **figures}))
    print(f"{'':24}{'PSS, MiB':>10}", file=sys.stderr)
    print(f"{'bare script':24}{bare / 2**20:>10.1f}", file=sys.stderr)
    print(f"{'worker':24}{worker / 2**20:>10.1f}   ratio {figures['ratio']}", file=sys.stderr)
    return figures


def _bare_pss_bytes(model: Path, pictures: Path) -> int:
    command = [sys.executable, "-c", _BARE_SCRIPT, str(model), str(pictures), str(_FRAMES)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as script:
        assert script.stdout is not None
        script.stdout.readline()
        return _pss_bytes(script.pid)


def _worker_pss_bytes(release: Path, pictures: Path) -> int:
    enough = Event()

    def hear(word: Word) -> None:
        if isinstance(word, Result) and word.seq >= _FRAMES:
            enough.set()

    source = FolderSource("folder", pictures, repeat=True)
    worker = WorkerProcess(Start("bench", source, {"main": StageStart(str(release), "0" * 64)}), hear, lambda _: None)
    try:
        enough.wait(60)
        return _pss_bytes(worker.pid)
    finally:
        worker.stop()


def _pss_bytes(pid: int) -> int:
    size = read_pss_bytes(pid)
    assert size is not None, "this needs Linux"
    return size


if __name__ == "__main__":
    main()
