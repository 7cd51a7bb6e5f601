"""How many times as fast a worker is as the loop people write first: label_image with Pillow and the same interpreter.

Same model, pictures, interpreter threads and cores; each in a process of its own, in turn. The loop decodes
each picture in full and resizes it, as TensorFlow's lite/examples/python/label_image.py does.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.releases import mixed_pictures, mobilenet_release
from benchmarks.workers import MeasuredWorker
from edge_agent.config.sources import FolderSource

_ROUNDS = 5
_FRAMES = 240  # four times the folder
_SCRIPT = """
import sys, time
from pathlib import Path
import numpy as np
from PIL import Image
from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter(model_path=sys.argv[1], num_threads=1)
interpreter.allocate_tensors()
given, found = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
pictures = sorted(Path(sys.argv[2]).iterdir())
def label(path):
    picture = Image.open(path).convert("RGB").resize((224, 224), Image.Resampling.BILINEAR)
    interpreter.set_tensor(given, np.asarray(picture)[None])
    interpreter.invoke()
    scores = np.squeeze(interpreter.get_tensor(found))
    return scores.argsort()[-5:][::-1]
for path in pictures[:20]:
    label(path)
began = time.monotonic()
for number in range(int(sys.argv[3])):
    label(pictures[number % len(pictures)])
print(int(sys.argv[3]) / (time.monotonic() - began))
"""


def main() -> dict[str, float]:
    """Measure, print one JSON line and a table, and return the figures."""
    with tempfile.TemporaryDirectory() as temporary:
        release = mobilenet_release(Path(temporary) / "release")
        pictures = mixed_pictures(Path(temporary) / "pictures")
        rounds = []
        for _ in range(_ROUNDS):
            theirs = _loop_fps(release / "model.tflite", pictures)
            with MeasuredWorker(FolderSource("folder", pictures, repeat=True), release) as worker:
                rounds.append((theirs, worker.fps(_FRAMES, warm_up=60)))
    theirs, ours = (round(statistics.median(column), 1) for column in zip(*rounds, strict=True))
    ratio = round(statistics.median(mine / other for other, mine in rounds), 3)
    print(json.dumps({"benchmark": "label_image", "loop_fps": theirs, "worker_fps": ours, "ratio": ratio}))
    print(f"label_image-style loop {theirs} pictures/s, worker {ours}: {ratio} times", file=sys.stderr)
    return {"loop_fps": theirs, "worker_fps": ours, "ratio": ratio}


def _loop_fps(model: Path, pictures: Path) -> float:
    command = [sys.executable, "-c", _SCRIPT, str(model), str(pictures), str(_FRAMES)]
    return float(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


if __name__ == "__main__":
    main()
