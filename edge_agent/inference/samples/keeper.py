"""Keeps samples in the worker, where pictures are: chosen as each answer is told, written on a thread of its own.

Which ones is left to `choosing`, what is in a file to `content`, the files to `folder`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from edge_agent.clock import Clock
from edge_agent.config.sinks import SamplesSink as SamplesConfig
from edge_agent.disk import Disk, open_private
from edge_agent.errors import FrameError, StorageError
from edge_agent.inference.frame import Frame, Sound
from edge_agent.inference.ipc import Answer, Result, SamplesLost, StageStart
from edge_agent.inference.job import Job
from edge_agent.inference.samples.choosing import Choice
from edge_agent.inference.samples.content import Given, content_of, said_of
from edge_agent.inference.samples.folder import SampleFolder
from edge_agent.inference.sinks.aside import Aside
from edge_agent.inference.sinks.tree import ResultFormat, compact
from edge_agent.inference.triggers.condition import root_of
from edge_agent.release.inputs import AudioInput
from edge_agent.transform.picture import EncodedPicture

_WAITING = 4  # each holds a picture: of 1080p as YUV, 3 MB
_CLOSE_S = 2.0  # the worker is ended by force some seconds after it was asked to end


@dataclass(frozen=True, slots=True, eq=False)
class _Sample:
    given: Given
    result: Result  # of the stage alone
    version: str


class SampleKeeper(Aside[_Sample]):
    """Open it to have what it was given written to the end. `say` is told what was lost, and why."""

    def __init__(
        self,
        config: SamplesConfig,
        pipeline: str,
        stages: Mapping[str, StageStart],
        say: Callable[[SamplesLost], None],
        clock: Clock,
        *,
        choice: Choice | None = None,
        disk: Callable[[], Disk] | None = None,
    ) -> None:
        super().__init__(f"samples-{pipeline}", _WAITING, _CLOSE_S)
        self._config = config
        self._pipeline = pipeline
        whole = [name for name, stage in stages.items() if stage.crops_of is None]
        self._stage = config.stage if config.stage is not None else whole[0]
        when = config.when
        root = root_of(when.stage if when is not None else None, stages)
        self._choice = choice or Choice(config, self._stage, root, clock)
        self._say = say
        self._open_disk = disk or (lambda: open_private(config.folder))
        self._folder: SampleFolder | None = None
        self._told: tuple[int, str | None] = (0, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        self._tell()

    def offer(self, job: Job, result: Result) -> None:
        """See `telling.SampleTaker`. Costs microseconds."""
        if not self._choice.takes(result):
            return
        turn = job.turns[self._stage]
        given = turn.given if turn.given is not None else job.frame
        if given is None:
            return
        spec = turn.served.model.manifest.input
        if isinstance(given, Frame) and isinstance(given.picture, EncodedPicture):
            given = replace(given, picture=given.picture.bare())
        elif isinstance(given, Sound) and isinstance(spec, AudioInput):
            # Whoever cuts the file into windows puts silence before it, as before all sound: the context is left out.
            given = replace(given, samples=given.samples[spec.context :])
        answers = {self._stage: result.answers[self._stage]}
        self._hand_over(_Sample(given, replace(result, answers=answers), turn.served.model.manifest.version))

    def _work(self) -> None:
        while self._backlog.wait_for_some():
            sample = self._backlog.take()
            if sample is None:
                continue
            try:
                self._keep(sample)
            except StorageError as error:
                self._folder = None  # somebody may have taken it away, to bring it back
                self._lost(f"{self._config.folder}: {error}")
            except FrameError as error:
                self._lost(str(error))
            else:
                self._problem = None
            self._tell()

    def _keep(self, sample: _Sample) -> None:
        suffix, content = content_of(sample.given)
        if self._folder is None:
            most, most_bytes = self._config.max_count, self._config.max_bytes
            self._folder = SampleFolder(self._open_disk(), most=most, most_bytes=most_bytes)
        name = self._folder.next_name(sample.result.captured_s, suffix)
        results = ResultFormat(self._pipeline, (self._stage,), lambda _: sample.version)
        self._folder.put(name, content, compact(results.tree(_as_said(sample, name))))

    def _tell(self) -> None:
        """What has changed since it was told."""
        now = (self.dropped, self._problem)
        if now != self._told:
            self._say(SamplesLost(now[0] - self._told[0], now[1]))
            self._told = now


def _as_said(sample: _Sample, name: str) -> Result:
    answers = {
        stage: Answer(each.digest, each.task, tuple(said_of(sample.given, each.results)), each.latency_ms)
        for stage, each in sample.result.answers.items()
    }
    return replace(sample.result, input=name, answers=answers)
