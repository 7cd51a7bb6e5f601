"""What happens to the agent, as values: every thread puts them into the one inbox, the loop takes them out.

What is done about them is left to `agent`.
"""

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from edge_agent.errors import EdgeError
from edge_agent.link.device import DeviceEvent
from edge_agent.release.document import Target
from edge_agent.service.documents import Channel
from edge_agent.service.pipelines import Heard
from edge_agent.service.reporting import StageName
from edge_agent.update.benching import Answer
from edge_agent.update.machine import Record
from edge_agent.update.status import Status


@dataclass(frozen=True, slots=True)
class Benched:
    """A release has been measured, or could not be."""

    answer: Answer


@dataclass(frozen=True, slots=True)
class Changed:
    """An updater has something new to report."""

    name: StageName
    status: Status


@dataclass(frozen=True, slots=True)
class Desired:
    """A believed document says what a channel wants."""

    channel: Channel
    target: Target


@dataclass(frozen=True, slots=True)
class Refused:
    """A document was not believed, or could not be remembered."""

    channel: Channel
    error: EdgeError


@dataclass(frozen=True, slots=True)
class Asked:
    """A person asks through the control socket."""

    request: Mapping[str, Any]
    answer: "Future[Mapping[str, Any]]"


@dataclass(frozen=True, slots=True)
class RolledBack:
    """An updater has done what was asked, or says why not; what it has become was told as `Changed` before."""

    name: StageName
    done: "Future[Record]"
    answer: "Future[Mapping[str, Any]]"


@dataclass(frozen=True, slots=True)
class Quit:
    """Stop; `error` is what a thread of ours died of."""

    error: BaseException | None = None


Event = Heard | Benched | Changed | Desired | Refused | Asked | RolledBack | Quit | DeviceEvent
Inbox = SimpleQueue[Event]
