"""The child that trains: `python -m converter.training.child FOLDER`, started by `run`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from converter.child import answer_parent, tell_parent
from converter.training.loop import Loop, Samples
from converter.training.steps import Training
from converter.training.trainee import Trainee
from edge_agent import schema

CHILD = "converter.training.child"


def _open_model(path: Path) -> Trainee:
    if path.suffix == ".pt2":
        from converter.training.torch_trainee import TorchTrainee

        return TorchTrainee(path)
    from converter.training.keras_trainee import KerasTrainee

    return KerasTrainee(path)


def _work(_folder: Path, request: Mapping[str, Any]) -> object:
    training = schema.parse(Training, request["training"], strict=True)
    with np.load(request["data"], allow_pickle=False) as stored:
        samples = Samples(stored["x"].astype(np.float32), stored["y"])

    loop = Loop(training, samples, request["fingerprint"], Path(request["work"]), tell_parent)
    model, steps = loop.run(Path(request["source"]), _open_model)
    return {"model": str(model), "steps": [schema.dump(step) for step in steps]}


if __name__ == "__main__":
    answer_parent(CHILD, _work)
