"""The child that trains: `python -m converter.training.child FOLDER`, started by `run`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from converter.child import answer_parent, tell_parent
from converter.training.loop import Loop
from converter.training.samples import read_training_set
from converter.training.steps import Training
from converter.training.taken import from_request
from converter.training.trainee import Trainee
from edge_agent import schema

CHILD = "converter.training.child"


def _open_model(path: Path) -> Trainee:
    if path.suffix == ".pt2":
        from converter.training.torch_trainee import TorchTrainee

        return TorchTrainee(path)
    from converter.training.keras_trainee import KerasTrainee

    return KerasTrainee(path)


def _work(folder: Path, request: Mapping[str, Any]) -> object:
    training = schema.parse(Training, request["training"], strict=True)
    source = Path(request["source"])
    taken, path = from_request(request["taken"])
    found = read_training_set(path, taken, _open_model(source).input_shape, folder, tell_parent)
    loop = Loop(training, found.samples, f"{request['fingerprint']} {found.digest}", Path(request["work"]), tell_parent)
    model, steps = loop.run(source, _open_model)
    return {"model": str(model), "steps": [schema.dump(step) for step in steps]}


if __name__ == "__main__":
    answer_parent(CHILD, _work)
