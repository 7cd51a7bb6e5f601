"""What a pipeline's results set off. Belongs to the supervisor's loop: it never raises and never waits.

Whether a condition holds is left to `condition`; how a message travels, a picture is drawn and a line is switched, to
the ports that are handed over.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock

from edge_agent.clock import Clock
from edge_agent.config.pipeline import PipelineConfig
from edge_agent.config.sinks import Gpio, Trigger
from edge_agent.inference.ipc import Result, SnapshotWritten
from edge_agent.inference.triggers.command import Command
from edge_agent.inference.triggers.condition import Condition, Holds, root_of
from edge_agent.inference.triggers.firing import Firing
from edge_agent.inference.triggers.gpio import Line, open_line
from edge_agent.inference.triggers.pin import Pin
from edge_agent.inference.triggers.snapshots import SnapshotFolder

_PICTURE_S = 10.0  # for the worker to write a picture; then the command runs without it
_EVENT_EVERY_S = 10.0  # at most one event of a trigger in this time: it may fire with every frame
_MOST_EVENTS = 1000  # that nobody has fetched

Event = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Ports:
    """What triggers act on the world with."""

    publish: Callable[[str, bytes], bool]  # topic (`Topics.trigger`) and payload; whether the link took it
    snapshot: Callable[[int, Path], bool]  # ask the worker for `ipc.Snapshot`; whether there is one
    open_line: Callable[[Gpio], Line] = open_line


class Triggers:
    """All triggers of one pipeline."""

    def __init__(self, pipeline: str, config: PipelineConfig, ports: Ports, clock: Clock) -> None:
        self._events: deque[Event] = deque(maxlen=_MOST_EVENTS)
        self._clock = clock
        self._all = [
            _Armed(
                trigger,
                Condition(trigger.when, root_of(trigger.when.stage, config.stage)),
                ports,
                clock,
                _Teller(pipeline, trigger.name, self._events.append),
            )
            for trigger in config.triggers
        ]

    def take(self, result: Result) -> None:
        """See a result, and do what it sets off."""
        now_s = self._clock.monotonic_s()
        for armed in self._all:
            armed.see(result, now_s)

    def written(self, word: SnapshotWritten) -> None:
        """The worker has written a picture, or could not."""
        for armed in self._all:
            armed.written(word)

    def interrupted(self) -> None:
        """The source or the worker is gone for now: what holds afterwards has not held before."""
        for armed in self._all:
            armed.interrupted()

    def events(self) -> list[Event]:
        """What is to be told since the last time: `{"kind", "pipeline", "detail", "hint"}`. Ask every few seconds."""
        now_s = self._clock.monotonic_s()
        for armed in self._all:
            armed.wait_no_longer(now_s)
        events: list[Event] = []
        while self._events:
            events.append(self._events.popleft())
        return events

    def close(self) -> None:
        """Switch lines off and end commands."""
        for armed in self._all:
            armed.close()


class _Armed:
    """One trigger with its state and its actions."""

    def __init__(self, trigger: Trigger, condition: Condition, ports: Ports, clock: Clock, teller: "_Teller") -> None:
        self._trigger = trigger
        self._condition = condition
        self._ports = ports
        self._teller = teller
        self._fired_s: float | None = None
        self._told_s: float | None = None
        self._untold = 0
        self._awaited: tuple[Firing, float] | None = None  # the picture that the command is to have, and since when
        gpio, snapshot = trigger.gpio, trigger.snapshot
        self._pin = Pin(gpio, ports.open_line, clock, self._teller.of("gpio")) if gpio is not None else None
        self._command = (
            Command(trigger.command, trigger.command_timeout_s, self._teller.of("command")) if trigger.command else None
        )
        self._folder = SnapshotFolder(trigger.name, snapshot, trigger.snapshot_keep) if snapshot is not None else None

    def see(self, result: Result, now_s: float) -> None:
        holds = self._condition.see(result, now_s)
        if holds is None or (self._fired_s is not None and now_s - self._fired_s < self._trigger.cool_down_s):
            return
        self._fired_s = now_s
        self._fire(result, holds, now_s)

    def written(self, word: SnapshotWritten) -> None:
        if self._folder is None or not self._folder.is_ours(Path(word.path)):
            return
        problem = word.problem or self._folder.prune()
        self._teller.of("snapshot")(problem, None)
        if self._awaited is not None and str(self._awaited[0].snapshot) == word.path:
            firing, self._awaited = self._awaited[0], None
            self._run(firing if word.problem is None else replace(firing, snapshot=None))

    def interrupted(self) -> None:
        self._condition.interrupt()

    def wait_no_longer(self, now_s: float) -> None:
        """For a picture that should have been written: its worker may be gone."""
        if self._awaited is not None and now_s - self._awaited[1] > _PICTURE_S:
            self._run_without_picture("the worker has not written it in time")

    def close(self) -> None:
        if self._pin is not None:
            self._pin.close()
        if self._command is not None:
            self._command.close()

    def _fire(self, result: Result, holds: Holds, now_s: float) -> None:
        firing = Firing(self._trigger.name, self._teller.pipeline, result, holds.held_s, holds.matches)
        self._tell_of(firing, now_s)
        if self._pin is not None:
            self._pin.fire()
        if self._folder is not None:
            path = self._folder.path_for(result)
            if self._ports.snapshot(result.seq, path):
                firing = replace(firing, snapshot=path)
            else:
                self._teller.of("snapshot")("there is no worker to draw the picture", None)
        if self._trigger.topic is not None:
            taken = self._ports.publish(self._trigger.topic, firing.text())
            self._teller.of("message")(None if taken else "the link to the broker is down: the message is lost", None)
        if self._command is not None and firing.snapshot is not None:
            if self._awaited is not None:
                self._run_without_picture("the next one was wanted before")
            self._awaited = (firing, now_s)
        elif self._command is not None:
            self._run(firing)

    def _run_without_picture(self, problem: str) -> None:
        assert self._awaited is not None, "asked by whoever has seen it"
        firing, self._awaited = self._awaited[0], None
        self._teller.of("snapshot")(problem, None)
        self._run(replace(firing, snapshot=None))

    def _run(self, firing: Firing) -> None:
        if self._command is not None:
            self._command.run(firing.text())

    def _tell_of(self, firing: Firing, now_s: float) -> None:
        if self._told_s is not None and now_s - self._told_s < _EVENT_EVERY_S:
            self._untold += 1
            return
        before = f" (and {self._untold} times before)" if self._untold else ""
        self._teller.fired(firing.sentence() + before)
        self._told_s, self._untold = now_s, 0


class _Teller:
    """Events of one trigger. A problem that goes on and on is told once."""

    def __init__(self, pipeline: str, trigger: str, tell: Callable[[Event], None]) -> None:
        self.pipeline = pipeline
        self._trigger = trigger
        self._tell = tell
        self._lock = Lock()
        self._problems: dict[str, str | None] = {}

    def fired(self, sentence: str) -> None:
        self._tell({"kind": "trigger", "pipeline": self.pipeline, "detail": f"{self._trigger}: {sentence}"})

    def of(self, action: str) -> Callable[[str | None, str | None], None]:
        """What tells of the problems of one action, from any thread; None: there is none any more."""

        def tell(problem: str | None, hint: str | None) -> None:
            with self._lock:
                known = self._problems.get(action)
                self._problems[action] = problem
            if problem is not None and problem != known:
                detail = f"{self._trigger}: {action}: {problem}"
                event = {"kind": "trigger_failed", "pipeline": self.pipeline, "detail": detail}
                self._tell({**event, "hint": hint} if hint is not None else event)

        return tell
