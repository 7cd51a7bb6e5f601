"""Samples pulled back from devices: asked for over the broker, taken as they come, asked for again where they do not.

Only devices whose own configuration says so answer. An answer is of a few samples; then the next are asked for, so a
command that is ended, and run again, goes on where it was. What is written where is left to `sample_files`.
"""

import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from converter.broker import Broker
from converter.fleet.sample_files import Assembly, SampleFiles
from edge_agent.clock import Clock, SystemClock
from edge_agent.errors import LinkError, counted
from edge_agent.inference.samples.folder import is_sample
from edge_agent.link.events import Received
from edge_agent.link.messages import MessageError, parse_availability
from edge_agent.link.samples import Answered, Ask, Part, format_ask, parse_sample
from edge_agent.link.topics import MAX_FILTERS
from edge_agent.release.manifest import IDENTIFIER

EVERY = 1_000_000  # samples of a pipeline: all there are
MOST_BYTES = 2_000_000_000  # of one run
_FIRST_S = 5.0  # for a device to say anything at all
_SILENT_S = 15.0  # one that has begun sends something at least this often
_MOST_ASKS = 3  # in vain, before a device is given up, or what does not arrive
_MOST_LOST = 100  # samples that do not arrive: then their device is given up
_LOOK_AGAIN_S = 5.0  # for what is newly kept
_MOST_TOLD = 20  # of what is wrong with one device's messages

Say = Callable[[str], None]


@dataclass(slots=True)
class _Device:
    """What is known of one device while it is asked."""

    id: str
    after: dict[str, str]  # by pipeline: the last sample that it need not send
    assembly: Assembly = field(default_factory=Assembly)
    got: dict[str, int] = field(default_factory=dict)  # by pipeline, in this run
    asking: bool = True
    due_s: float = 0.0  # when it is asked, or asked again
    in_vain: int = 0  # asks since it has last sent something that was new
    heard: bool = False
    answered: bool = False
    refused: set[tuple[str, str]] = field(default_factory=set)  # samples that are not waited for, with their pipeline
    told: int = 0


class Puller:
    """What is done about each message of the devices it is for. Talks to nobody: `ask` is handed over."""

    def __init__(
        self,
        devices: Iterable[str],
        files: SampleFiles,
        ask: Callable[[str, Ask], None],
        say: Say,
        clock: Clock,
        *,
        most: int | None = None,
        goes_on: bool = False,
    ) -> None:
        self._files = files
        self._ask = ask
        self._say = say
        self._clock = clock
        self._most = most
        self._goes_on = goes_on
        self._id = f"edgectl-{secrets.token_hex(4)}"
        self._devices = {device: _Device(device, files.newest(device)) for device in devices}

    @property
    def is_done(self) -> bool:
        return not any(device.asking for device in self._devices.values()) or self._files.bytes >= MOST_BYTES

    @property
    def silent(self) -> list[str]:
        """The devices that have never answered."""
        return [device.id for device in self._devices.values() if not device.answered]

    def ask_due(self) -> float:
        """Ask whoever is to be asked; gives the seconds until the next one is."""
        now_s = self._clock.monotonic_s()
        asking = [device for device in self._devices.values() if device.asking]
        for device in asking:
            if device.due_s <= now_s:
                self._ask_again(device, now_s)
        return max(0.0, min((device.due_s for device in asking if device.asking), default=now_s) - now_s)

    def hear(self, device_id: str, payload: bytes) -> None:
        """A message of a device's `sample` topic.

        Raises:
            InputError: what it brought cannot be written.
        """
        device = self._devices.get(device_id)
        if device is None:
            return
        device.heard = True
        device.due_s = max(device.due_s, self._clock.monotonic_s() + _SILENT_S)
        try:
            message = parse_sample(payload)
            if isinstance(message, Part):
                self._take(device, message)
            elif message.ask == self._id:
                self._answered(device, message)
        except MessageError as error:
            self._tell(device, f"left out: {error}")

    def _ask_again(self, device: _Device, now_s: float) -> None:
        if device.in_vain >= _MOST_ASKS:
            device.asking = False
            if device.answered:
                self._say(f"{device.id}: given up: it does not answer any more, or sends nothing new")
            return
        device.in_vain += 1
        device.due_s = now_s + (_SILENT_S if device.heard else _FIRST_S)
        self._ask(device.id, Ask(self._id, self._most or EVERY, dict(device.after)))

    def _take(self, device: _Device, part: Part) -> None:
        whole = device.assembly.add(part)
        if whole is None or self._has_enough(device, part.pipeline):
            return
        try:
            is_new = self._files.put(device.id, part.pipeline, part.name, *whole)
        except MessageError:
            device.refused.add((part.pipeline, part.name))
            raise
        if is_new:
            device.in_vain = 0
            device.got[part.pipeline] = device.got.get(part.pipeline, 0) + 1

    def _answered(self, device: _Device, answered: Answered) -> None:
        device.answered = True
        for each in answered.left_out:
            self._tell(device, f"{each.pipeline}: {each.name[:40]} was not sent: {each.problem[:200]}")
            device.refused.add((each.pipeline, each.name))
        lost = [self._has_lost(device, pipeline, names) for pipeline, names in answered.sent.items()]
        for each in answered.left_out:
            if not any(lost) and is_sample(each.name):
                device.after[each.pipeline] = max(device.after.get(each.pipeline, ""), each.name)
        left = any(count > 0 and not self._has_enough(device, name) for name, count in answered.left.items())
        now_s = self._clock.monotonic_s()
        if len(device.refused) > _MOST_LOST:
            device.asking = False
            self._say(f"{device.id}: given up: more than {_MOST_LOST} of its samples did not arrive")
        elif any(lost) or left:
            device.due_s = now_s
        elif self._goes_on:
            device.in_vain, device.due_s = 0, now_s + _LOOK_AGAIN_S
        else:
            device.asking = False

    def _has_enough(self, device: _Device, pipeline: str) -> bool:
        return self._most is not None and device.got.get(pipeline, 0) >= self._most

    def _has_lost(self, device: _Device, pipeline: str, names: Iterable[str]) -> bool:
        """Whether one of these samples is to be sent again. Those before it are not asked for any more."""
        for name in sorted(filter(is_sample, names)):
            done = (pipeline, name) in device.refused or self._files.has(device.id, pipeline, name)
            if not done and not self._has_enough(device, pipeline):
                if device.in_vain < _MOST_ASKS:
                    return True
                self._tell(device, f"{pipeline}: {name} was sent {_MOST_ASKS} times and has not arrived")
                device.refused.add((pipeline, name))
                device.in_vain = 0
            device.after[pipeline] = max(device.after.get(pipeline, ""), name)
        return False

    def _tell(self, device: _Device, what: str) -> None:
        device.told += 1
        if device.told <= _MOST_TOLD:
            self._say(f"{device.id}: {what}")
        elif device.told == _MOST_TOLD + 1:
            self._say(f"{device.id}: and more of the kind")


def pull(
    broker: Broker,
    files: SampleFiles,
    named: Sequence[str],
    say: Say,
    *,
    most: int | None = None,
    for_s: float | None = None,
) -> list[str]:
    """Write what these devices (none named: all that are online) have kept and not sent here yet.

    `most`: so many of the newest of each pipeline. `for_s`: go on for so long with what is newly kept. Returns the
    devices that were asked and have not answered.

    Raises:
        LinkError: the broker cannot be reached, or no device is online.
        InputError: what came cannot be written.
    """
    clock = SystemClock()
    devices = [*dict.fromkeys(named)] or _online(broker)
    topics = [broker.topics.sample(device) for device in devices]
    for begin in range(0, len(topics), MAX_FILTERS):
        broker.listen(topics[begin : begin + MAX_FILTERS])
    puller = Puller(
        devices,
        files,
        lambda device, ask: broker.publish(broker.topics.ask(device), format_ask(ask)),
        say,
        clock,
        most=most,
        goes_on=for_s is not None,
    )
    until_s = None if for_s is None else clock.monotonic_s() + for_s
    while not puller.is_done and (until_s is None or clock.monotonic_s() < until_s):
        wait_s = puller.ask_due()
        if until_s is not None:
            wait_s = min(wait_s, max(0.0, until_s - clock.monotonic_s()))
        event = broker.next_event(wait_s)
        if event is not None:
            _hear(puller, broker, event)
    if files.bytes >= MOST_BYTES:
        say(f"stopped: {counted(files.bytes, 'byte')} have come; run it again to go on")
    return puller.silent


def _hear(puller: Puller, broker: Broker, event: Received) -> None:
    of = broker.topics.device_of(event.topic)
    if of is not None and of[1] == "sample" and not event.retained:
        puller.hear(of[0], event.payload)


def _online(broker: Broker) -> list[str]:
    """The devices that are, by their own word."""
    found = []
    for topic, payload in sorted(broker.retained([broker.topics.availability("+")]).items()):
        of = broker.topics.device_of(topic)
        if of is not None and IDENTIFIER.fullmatch(of[0]) and _is_online(payload):
            found.append(of[0])
    if not found:
        raise LinkError(
            f"no device is online on {broker.settings.url}",
            hint="'edgectl devices' lists all; where the broker serves no wildcards, name one with --device",
        )
    return found


def _is_online(payload: bytes) -> bool:
    try:
        return parse_availability(payload)
    except MessageError:
        return False
