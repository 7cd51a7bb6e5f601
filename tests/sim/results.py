"""Results as workers say them, for whoever takes them in."""

from collections.abc import Mapping
from typing import Any

from edge_agent.inference.ipc import Answer, Result

DIGEST = "d" * 64


def answer(*predictions: Mapping[str, Any], task: str = "classification", digest: str = DIGEST) -> Answer:
    return Answer(digest, task, predictions, {"invoke": 7.125})


def result(
    *labels: str | None, task: str = "classification", name: str = "a.jpg", seq: int = 1, score: float = 0.5
) -> Result:
    """Of a pipeline of one stage."""
    predictions = ({"label": label, "index": place, "score": score} for place, label in enumerate(labels))
    return staged({"main": answer(*predictions, task=task)}, name=name, seq=seq)


def staged(answers: Mapping[str, Answer], *, name: str = "a.jpg", seq: int = 1) -> Result:
    return Result(seq, 1_750_000_000.25, name, answers, 1.5)


def found(label: str, score: float = 0.9, box: tuple[float, ...] = (10, 20, 30, 40), **more: Any) -> dict[str, Any]:
    """One object of a detection."""
    return {"label": label, "index": 0, "score": score, "box": list(box), **more}
