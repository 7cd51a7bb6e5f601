"""Stages on crops of another stage whose release gives no boxes: they would wait for ever, and nobody would know why.

Told by the answers of that other stage, and no more when it serves another release. Neither stage's release is to blame
for it, so no trial ends by it: a trial without frames waits (`update.trial`).
"""

from collections.abc import Callable, Mapping

from edge_agent.config.pipeline import StageConfig
from edge_agent.errors import Reason
from edge_agent.inference.ipc import Answer, Result, Serving, Word
from edge_agent.inference.stage_server import WorkerExited
from edge_agent.release.outputs import never_gives_boxes
from edge_agent.update.status import Problem

_HINT = "push a detector there, or remove crops_of"


class BoxlessCrops:
    """Of one pipeline. `problems` are those of the stages that wait; it is replaced, and never changed."""

    def __init__(self, stages: Mapping[str, StageConfig], version_of: Callable[[str], str | None]) -> None:
        self._stages = stages
        self._seen_by = {
            other: [name for name in stages if other in self._others(name)] for other in stages
        }  # in crops, and in crops of crops
        self._version_of = version_of
        self.problems: Mapping[str, Problem] = {}

    def hear(self, word: Word | WorkerExited) -> Mapping[str, Problem]:
        """Take in one word; gives the problems that are new."""
        before = self.problems
        match word:
            case Result(answers=answers):
                for stage, answer in answers.items():
                    if self._seen_by[stage] and never_gives_boxes(answer.task):
                        self._blame(stage, answer)
            case Serving(stage=stage):
                waiting = self._seen_by[stage]
                self.problems = {name: problem for name, problem in before.items() if name not in waiting}
            case WorkerExited():
                self.problems = {}
            case _:
                pass
        return {name: problem for name, problem in self.problems.items() if name not in before}

    def _blame(self, stage: str, answer: Answer) -> None:
        missing = [name for name in self._seen_by[stage] if name not in self.problems]
        if not missing:
            return  # as with nearly every frame
        release = self._version_of(answer.digest) or answer.digest[:12]
        fault = f"whose release {release} is a {answer.task} model and gives no boxes"
        new = {
            name: Problem(Reason.SOURCE, f"its crops come from {self._way(name, stage)}, {fault}", _HINT)
            for name in missing
        }
        self.problems = {**self.problems, **new}

    def _others(self, name: str) -> list[str]:
        """The stage whose crops it sees, the one whose crops that one sees, and so on."""
        found: list[str] = []
        other = self._stages[name].crops_of
        while other is not None:
            found.append(other)
            other = self._stages[other].crops_of
        return found

    def _way(self, name: str, stage: str) -> str:
        others = self._others(name)
        return ", and its from ".join(f"stage {other}" for other in others[: others.index(stage) + 1])
