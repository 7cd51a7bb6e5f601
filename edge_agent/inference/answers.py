"""What all stages said of one frame, joined: the words about it, and what each stage's figures get to count.

Running the models is left to `stage`; sending the words, to `pipeline`.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from edge_agent.clock import Clock
from edge_agent.inference.ipc import Answer, FrameFailed, Result, Word
from edge_agent.inference.job import Job, Turn
from edge_agent.inference.stage import decoded
from edge_agent.inference.tally import Tally

Tree = dict[str, Any]


def tell(job: Job, tallies: Mapping[str, Tally], clock: Clock) -> Iterator[Word]:
    """Decode what is not decoded yet, count, and give the words: a failure of each stage, one result of the rest."""
    trees: dict[str, list[Tree]] = {}
    answers: dict[str, Answer] = {}
    for stage, turn in job.turns.items():
        predictions = decoded(turn, clock)
        digest = turn.served.digest
        if turn.failure is not None:
            count = len(turn.inputs)
            if turn.parents:
                tallies[stage].entered(count)
            tallies[stage].failed(count)
            yield FrameFailed(stage, digest, job.name, of_model=True, detail=str(turn.failure))
            continue
        _count(tallies[stage], job, turn)
        trees[stage] = [prediction.to_json() for each in predictions for prediction in each]
        latency_ms = {step: round(value_ms, 3) for step, value_ms in turn.latency_ms.items()}
        answers[stage] = Answer(digest, turn.served.model.manifest.task, tuple(trees[stage]), latency_ms)
    for stage, turn in job.turns.items():
        if turn.parents and stage in trees:
            _join(stage, turn, trees)
    if answers:
        yield Result(job.seq, job.captured_s, job.name, answers, round(job.capture_ms, 3))


def _count(tally: Tally, job: Job, turn: Turn) -> None:
    """One answer for each input: of a cascade the crops share what was measured of all of them."""
    count = len(turn.inputs)
    for predictions in turn.predictions or ():
        tally.found(predictions)
    if turn.parents:
        tally.entered(count)
        tally.finished({step: value_ms / count for step, value_ms in turn.latency_ms.items()}, count)
    else:
        tally.finished({"capture": job.capture_ms, **turn.latency_ms})


def _join(stage: str, turn: Turn, trees: Mapping[str, list[Tree]]) -> None:
    """Hang this stage's answers to each crop under the prediction that the crop is of."""
    other = next((name for name, found in trees.items() if name == turn.crops_of), None)
    if other is None:
        return
    rest = iter(trees[stage])
    for parent, predictions in zip(turn.parents, turn.predictions or (), strict=True):
        mine = [next(rest) for _ in predictions]
        trees[other][parent].setdefault("stages", {})[stage] = mine
