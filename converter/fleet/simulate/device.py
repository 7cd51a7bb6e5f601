"""One simulated device: follows a channel, verifies, fetches chunk by chunk, tries, commits or rejects, reports.

Documents and chunks are judged, wanted and asked for by the device's own code (`release.trust`, `update.eligibility`,
`link.download`, `release.chunks`); there is no disk, no model and no camera. What takes time on a Pi is a timer here.
Fetching is left to `fetching`.
"""

import asyncio
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field

from converter.fleet.simulate.client import Client, Identity
from converter.fleet.simulate.fetching import Fetching, Tally
from converter.fleet.simulate.world import World
from edge_agent import __version__
from edge_agent.errors import EdgeError, Reason, TrustError
from edge_agent.link.messages import (
    OFFLINE,
    ONLINE,
    AgentReport,
    HeldReport,
    OutcomeReport,
    ProblemReport,
    RejectionReport,
    ReleaseReport,
    Reported,
    StageReport,
    format_reported,
)
from edge_agent.release.document import Target, target_path
from edge_agent.update.eligibility import Decision, Named, decide
from edge_agent.update.eligibility import Device as Asker
from edge_agent.update.machine import Idle, Lifted, Phase, Record, Rejection, Trial, lift

PIPELINE, STAGE = "simulated", "main"
_RETRY_FIRST_S, _RETRY_LONGEST_S = 1.0, 60.0


@dataclass(slots=True)
class Release:
    """What the device knows of a release that it has."""

    target: Target
    chunks: frozenset[str] = field(default_factory=frozenset)


class Device:
    """On the loop's thread. `id` is its device id."""

    def __init__(self, device_id: str, world: World) -> None:
        self.id = device_id
        self.tally = Tally()
        self.current: Release | None = None
        self.previous: Release | None = None
        self.rejected: tuple[Rejection, ...] = ()
        self.desired: Target | None = None  # what the channel gives
        self._lifted: tuple[Lifted, ...] = ()
        self._world = world
        self._topics = world.topics
        self._loop = asyncio.get_running_loop()
        self._trusted: bytes | None = None
        self._problem: ProblemReport | None = None
        self._last: OutcomeReport | None = None
        self._phase = "idle"
        self._candidate: Target | None = None
        self._fetching = Fetching(
            device_id,
            world,
            self.tally,
            after=self._after,
            held=lambda: frozenset().union(
                *(each.chunks for each in (self.current, self.previous) if each is not None)
            ),
            done=self._stage,
            refused=self._reject,
        )
        self._standing: dict[int, tuple[str, int]] = {}  # number of a SUBSCRIBE → topic, attempt
        self._client: Client | None = None
        self._online = False
        self._failures = 0
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._stopped = False
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def online(self) -> bool:
        return self._online

    @property
    def has_settled(self) -> bool:
        """Whether it has done what it makes of its channel's word: taken the release, rejected it, or holds it."""
        if self.desired is None or self._candidate is not None:
            return False
        aim = self._decision().aim
        return aim is None or (self.current is not None and self.current.target.digest == aim.digest)

    @property
    def holds(self) -> bool:
        """Whether the newest release is not for it, and it has not rejected it either."""
        held = self._decision().held
        return held is not None and not self.record.refuses(held.digest)

    @property
    def record(self) -> Record:
        """As a real device would have it."""
        phase: Phase = Idle()
        if self._candidate is not None and self._phase == "trial":
            phase = Trial(self._candidate.digest, 1)
        return Record(
            current=self.current.target.digest if self.current else None,
            previous=self.previous.target.digest if self.previous else None,
            phase=phase,
            rejected=self.rejected,
            lifted=self._lifted,
        )

    def _decision(self) -> Decision:
        if self.desired is None:
            return Decision(None)
        named = Named(self._world.model, self.current.target.version) if self.current else None
        return decide(self.desired, Asker(self.id), self.record, named)

    # --- connection ---------------------------------------------------------------------------------------------

    def start(self) -> None:
        self._spawn(self._connect())

    def stop(self) -> None:
        self._stopped = True
        for timer in self._timers.values():
            timer.cancel()
        if self._client is not None and self._online:
            self._client.publish(self._topics.availability(self.id), OFFLINE, retain=True)
            self._client.close()

    def cut(self) -> None:
        """Lose the connection, as a device behind a bad link does."""
        if self._client is not None:
            self._client.abort("cut")

    async def _connect(self) -> None:
        settings = self._world.settings
        identity = Identity(
            self.id,
            self._topics.availability(self.id),
            OFFLINE,
            settings.username,
            settings.password,
            settings.keepalive_s,
        )
        try:
            async with self._world.connecting:
                _, self._client = await self._loop.create_connection(
                    lambda: Client(identity, self), settings.host, settings.port, ssl=self._world.tls
                )
        except OSError as error:
            self.lost(str(error))

    def connected(self) -> None:
        assert self._client is not None
        self._online = True
        self._failures = 0
        self.tally.connections += 1
        for topic in (self._topics.echo(self.id), self._topics.release(self._world.model, self._world.channel)):
            self._follow(topic, 0)
        self._client.publish(self._topics.availability(self.id), ONLINE, retain=True)
        self._report()
        self._fetching.connected(self._client)

    def lost(self, why: str) -> None:
        self._online = False
        self._client = None
        self._standing.clear()
        self._fetching.lost()
        if self._stopped:
            return
        self._world.tell(self.id, why)
        longest_s = min(_RETRY_LONGEST_S, _RETRY_FIRST_S * 2**self._failures)
        self._failures += 1
        self._after("connect", random.uniform(0, longest_s), self.start)  # noqa: S311  # no secret

    def _follow(self, topic: str, attempt: int) -> None:
        if self._client is not None:
            self._standing[self._client.subscribe([topic], qos=1)] = (topic, attempt)

    def granted(self, number: int, problems: tuple[str | None, ...]) -> None:
        topic, attempt = self._standing.pop(number, ("", 0))
        if topic and any(problems):  # an election in a cluster is over soon
            pause_s = random.uniform(0, min(_RETRY_LONGEST_S, _RETRY_FIRST_S * 2**attempt))  # noqa: S311  # no secret
            self._after(f"follow {topic}", pause_s, lambda: self._follow(topic, attempt + 1))
        self._fetching.granted(number, problems)

    def received(self, topic: str, payload: bytes) -> None:
        if topic == self._topics.echo(self.id):
            self._fetching.echoed(payload)
        elif topic == self._topics.release(self._world.model, self._world.channel):
            if payload:
                self._spawn(self._judge(payload))
        elif (chunk := topic.removeprefix(self._topics.blob(""))) != topic:
            self._fetching.arrived(chunk, payload)

    # --- what is wanted -----------------------------------------------------------------------------------------

    async def _judge(self, payload: bytes) -> None:
        try:
            verified = await self._world.verifier.verify(payload, self._trusted)
        except TrustError as error:
            self._say(ProblemReport(error.reason.value, str(error), error.hint))
            return
        except EdgeError as error:
            self._say(ProblemReport(Reason.SIGNATURE.value, str(error), error.hint))
            return
        self._trusted = verified.trusted
        self._problem = None
        self._desire(verified.target)

    def _desire(self, target: Target) -> None:
        self.desired = target
        topic = target_path(target.model, target.channel)
        if target.lifts.number > self.record.lifted_for(topic):
            lifted = lift(self.record, topic, target.lifts.number, target.lifts.digests)
            self.rejected, self._lifted = lifted.rejected, lifted.lifted
        aim = self._decision().aim
        if self._candidate is not None and (aim is None or aim.digest != self._candidate.digest):
            self._drop_candidate()
        has = aim is not None and self.current is not None and self.current.target.digest == aim.digest
        if aim is not None and self._candidate is None and not has:
            self._candidate = aim
            self._phase = "fetching"
            self._fetching.begin(aim)
        self._report()
        self._world.changed(self)

    def _drop_candidate(self) -> None:
        self._fetching.drop()
        self._candidate = None
        self._phase = "idle"
        for name in ("probe", "trial"):
            if name in self._timers:
                self._timers.pop(name).cancel()

    # --- proof --------------------------------------------------------------------------------------------------

    def _stage(self, target: Target) -> None:
        self._phase = "staged"
        self._report()
        self._after("probe", self._world.behavior.probe_s, lambda: self._try(target))

    def _try(self, target: Target) -> None:
        self._phase = "trial"
        self._report()
        self._after("trial", self._world.behavior.trial_s, lambda: self._end_trial(target))

    def _end_trial(self, target: Target) -> None:
        if self._world.behavior.fails(self.id, target.digest):
            self._reject(Reason.TRIAL_ERRORS, "a simulated failure", result="rolled_back")
            return
        self.previous, self.current = self.current, Release(target, frozenset(self._fetching.chunks))
        self._last = OutcomeReport(target.digest, "committed", target.version)
        self._end()

    def _reject(self, reason: Reason, detail: str, *, result: str = "rejected") -> None:
        assert self._candidate is not None
        target = self._candidate
        self.rejected = (*self.rejected, Rejection(target.digest, reason))
        self._last = OutcomeReport(target.digest, result, target.version, reason.value, detail)
        self._end()

    def _end(self) -> None:
        self._drop_candidate()
        self._report()
        self._world.changed(self)

    # --- telling ------------------------------------------------------------------------------------------------

    def _say(self, problem: ProblemReport) -> None:
        if problem != self._problem:
            self._problem = problem
            self._report()

    def _report(self) -> None:
        if self._client is None or not self._online:
            return
        candidate = self._candidate
        stage = StageReport(
            self._world.model,
            self._world.channel,
            self._phase,
            current=_release_report(self.current),
            previous=_release_report(self.previous),
            candidate=ReleaseReport(candidate.digest, candidate.version) if candidate else None,
            last=self._last,
            rejected=tuple(RejectionReport(each.digest, each.reason.value) for each in self.rejected),
            lifted=self.record.lifted_for(target_path(self._world.model, self._world.channel)) or None,
            held=_held_report(self._decision()),
            problem=self._problem,
        )
        report = Reported(AgentReport(__version__, "simulated"), pipelines={PIPELINE: {STAGE: stage}})
        self._client.publish(self._topics.reported(self.id), format_reported(report), retain=True)

    def _after(self, name: str, delay_s: float, then: Callable[[], None]) -> None:
        """One timer of each name."""
        if name in self._timers:
            self._timers[name].cancel()
        if not self._stopped:
            self._timers[name] = self._loop.call_later(delay_s, then)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _held_report(decision: Decision) -> HeldReport | None:
    held = decision.held
    return HeldReport(held.digest, held.version, held.reason.value, held.detail) if held else None


def _release_report(release: Release | None) -> ReleaseReport | None:
    return ReleaseReport(release.target.digest, release.target.version) if release else None
