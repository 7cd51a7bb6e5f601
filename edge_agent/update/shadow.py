"""A candidate in shadow, before its trial: on a share of the live frames it answers beside the release that serves.

What it says goes nowhere; it is only compared, and one that agrees too seldom is rejected before any of its answers
counts. Whether there is a shadow at all is the device's choice (`[update]`), and needs the memory for both. Running it
is left to `inference.shadow`. Nothing of it is remembered: cut off, it begins anew.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edge_agent.clock import Clock
from edge_agent.errors import Reason, RejectionError, WorkerCrashedError
from edge_agent.inference.ipc import Shadowed
from edge_agent.release.manifest import Limits
from edge_agent.update.checks import DOUBT_OF_BROKEN, FEWEST_FRAMES
from edge_agent.update.statistics import surely_above
from edge_agent.update.watch import Server

_POLL_S = 0.2
_RESERVE_BYTES = 32_000_000  # left to everybody else


@dataclass(frozen=True, slots=True)
class ShadowPlan:
    """What the device allows."""

    share: float  # of the live frames
    frames: int
    longest_s: float
    available_bytes: Callable[[], int | None]  # memory; None: nobody knows


def run_shadow(
    server: Server,
    digest: str,
    directory: Path,
    plan: ShadowPlan,
    *,
    cancelled: Callable[[], bool],
    clock: Clock,
) -> Shadowed:
    """Block until all frames are compared, the time is over, or it is cancelled; how it stands then.

    Never raises: a worker that dies meanwhile says nothing of the candidate.
    """
    last = Shadowed("", digest, 0, 0)
    end_s = clock.monotonic_s() + plan.longest_s
    try:
        with server.shadow(digest, directory, share=plan.share, frames=plan.frames) as words:
            while not last.over and not cancelled() and clock.monotonic_s() < end_s:
                word = words.next(_POLL_S)
                if isinstance(word, Shadowed) and word.digest == digest:
                    last = word
    except WorkerCrashedError as error:
        return Shadowed("", digest, last.compared, last.agreed, over=True, problem=str(error))
    return last


def lacks_memory(needed_bytes: int, plan: ShadowPlan) -> str | None:
    """Why there can be no shadow of a release whose probe took so much; None: there is enough."""
    available_bytes = plan.available_bytes()
    if available_bytes is None or available_bytes >= needed_bytes + _RESERVE_BYTES:
        return None
    wanted = (needed_bytes + _RESERVE_BYTES) / 1e6
    return f"no shadow: it takes {wanted:.0f} MB of memory, {available_bytes / 1e6:.0f} MB are available"


def judge_shadow(said: Shadowed, limits: Limits) -> str:
    """What to note of it in the outcome. When all was compared, what was seen decides; before that, what is sure.

    Raises:
        RejectionError: DISAGREES, or the reason that the shadow itself gives.
    """
    if said.reason is not None:
        raise RejectionError(said.problem or "it failed in shadow", reason=said.reason)
    missed = said.compared - said.agreed
    if said.compared < FEWEST_FRAMES:
        why = f": {said.problem}" if said.problem else ""
        return f"not judged in shadow, {said.compared} frames are compared{why}"
    beyond = missed > (1 - limits.agreement) * said.compared
    is_complete = said.over and said.problem is None
    if beyond and (is_complete or surely_above(missed, said.compared, 1 - limits.agreement, DOUBT_OF_BROKEN)):
        raise RejectionError(
            f"in shadow it answered {said.agreed} of {said.compared} frames as the current release did, "
            f"at least {limits.agreement:.0%} is asked for",
            reason=Reason.DISAGREES,
            hint="if it is meant to answer otherwise, publish it with a lower `agreement`",
        )
    return f"in shadow {said.agreed} of {said.compared} answers were the current release's"


def read_available_bytes() -> int | None:
    """What the kernel thinks new programs could take without swapping (proc(5), MemAvailable)."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(found[0]) * 1024 if found else None
