"""Makes a release that only running it can tell from a good one: same size, same speed, wrong answers.

The classifier's last weights are moved by one class, as if two training runs had been mixed up; golden vectors, labels
and report are those of the good release. Every digest is right, so integrity checks and signatures pass.
"""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from edge_agent.release.archive import format_archive, read_artifact
from edge_agent.release.manifest import MANIFEST_FILE, MODEL_FILE, FileEntry, format_manifest


def with_wrong_answers(good: Path, broken: Path, *, version: str) -> None:
    """Write `broken`, an artifact like `good` whose model answers with the neighboring class."""
    artifact = read_artifact(good)
    members = dict(artifact.members)
    members[MODEL_FILE] = _moved_by_one_class(members[MODEL_FILE])
    entry = FileEntry(hashlib.sha256(members[MODEL_FILE]).hexdigest(), len(members[MODEL_FILE]))
    files = {**artifact.manifest.files, MODEL_FILE: entry}
    members[MANIFEST_FILE] = format_manifest(replace(artifact.manifest, version=version, files=files))
    broken.write_bytes(format_archive(members))


def _moved_by_one_class(model: bytes) -> bytes:
    interpreter = Interpreter(model_content=model)
    interpreter.allocate_tensors()
    (classes,) = interpreter.get_output_details()[0]["shape"][1:]
    for tensor in interpreter.get_tensor_details():
        if len(tensor["shape"]) == 2 and tensor["shape"][0] == classes:
            weights = np.asarray(interpreter.get_tensor(tensor["index"]))
            if model.count(weights.tobytes()) == 1:
                return model.replace(weights.tobytes(), np.roll(weights, 1, axis=0).tobytes())
    raise ValueError("this model has no dense last layer whose weights can be found")
