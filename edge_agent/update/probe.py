"""Proving a candidate before it serves: in a child process that may crash, hang or eat memory instead of us.

Runs in the supervisor, so nothing here imports numpy or the interpreter. What is proved, and how, stands in
`probe_child`; what follows from it, in `updater`.
"""

import json
import os
import platform
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Literal

from edge_agent import __version__, schema
from edge_agent.config.pipeline import Delegate, Threads
from edge_agent.errors import Reason, RejectionError, WorkerCrashedError, describe_exit
from edge_agent.release.manifest import Manifest

_STOP_POLL_S = 0.25
_TAIL = 600  # characters of the child's last words that go into a rejection
# Idle BLAS and OpenMP threads are address space and context switches: the interpreter has threads of its own.
_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a release is proved with: the threads and the delegate it will serve with, and the time it may take."""

    threads: Threads = 1
    cores: int | None = None  # at most so many threads, where they are measured
    delegate: Delegate | None = None
    timeout_s: float = 60.0


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """What a release has shown of itself on this device."""

    library: str  # "ai-edge-litert 2.3.0"
    delegated: bool
    load_ms: float
    p50_ms: float  # of invoke
    p95_ms: float
    memory_bytes: int  # peak resident set of the probe process, interpreter and all
    golden_vectors: int  # 0: the artifact ships none, so its answers were not judged
    disagreement: float | None = None  # the worst of them
    kind: Literal["proved"] = "proved"


@dataclass(frozen=True, slots=True)
class Refused:
    """The child's word for a RejectionError."""

    reason: Reason
    detail: str
    hint: str | None = None
    kind: Literal["refused"] = "refused"


@dataclass(frozen=True, slots=True)
class Unable:
    """The child's word for a device on which nothing can be proved, through no fault of the release."""

    detail: str
    hint: str | None = None
    kind: Literal["unable"] = "unable"


Answer = ProbeReport | Refused | Unable


def format_answer(answer: Answer) -> str:
    return json.dumps(schema.dump(answer))


def probe(
    directory: Path, manifest: Manifest, *, told: Circumstances | None = None, stop: Event | None = None
) -> ProbeReport:
    """Prove the unpacked release in `directory`; blocks for as long as that takes, or until `stop`.

    Raises:
        RejectionError: it will not do on this device.
        WorkerCrashedError: it could not be tried, which says nothing of the release.
    """
    told = told or Circumstances()
    check_runtime(manifest)
    # -P: what lies in the working directory must not be imported.
    command = [
        sys.executable,
        "-P",
        "-m",
        "edge_agent.update.probe_child",
        str(directory),
        json.dumps(schema.dump(told)),
    ]
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**_ENVIRONMENT, **os.environ},
            start_new_session=True,
        )
    except OSError as error:
        raise WorkerCrashedError(
            f"the probe cannot be started: {error.strerror or error}", hint="is there memory left?"
        ) from error
    with child:
        try:
            said, muttered = _wait(child, told.timeout_s, stop or Event())
        except subprocess.TimeoutExpired as error:
            raise RejectionError(
                f"the probe was not done after {told.timeout_s:g} s",
                reason=Reason.PROBE_TIMEOUT,
                hint="the model may be too large for this device",
            ) from error
        finally:
            # Not asked first whether it has ended: what it has started may go on, and hold its pipes open.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
    return _judge(child.returncode, said, muttered)


def _wait(child: "subprocess.Popen[bytes]", timeout_s: float, stop: Event) -> tuple[bytes, bytes]:
    deadline_s = time.monotonic() + timeout_s
    while True:
        try:
            return child.communicate(timeout=min(_STOP_POLL_S, timeout_s))
        except subprocess.TimeoutExpired:
            if stop.is_set():
                raise WorkerCrashedError("the agent is stopping") from None
            if time.monotonic() > deadline_s:
                raise


def check_runtime(manifest: Manifest) -> None:
    """Raise RejectionError unless this device has what the manifest asks for."""
    needs = manifest.runtime
    if _version(needs.agent) > _version(__version__):
        raise RejectionError(
            f"the release needs agent {needs.agent} or newer; this is {__version__}",
            reason=Reason.INCOMPATIBLE,
            hint="update edge-deploy on the device",
        )
    if needs.machine not in (None, platform.machine()):
        raise RejectionError(
            f"the release is bound to {needs.machine}; this device is {platform.machine()}", reason=Reason.INCOMPATIBLE
        )


def _judge(code: int, said: bytes, muttered: bytes) -> ProbeReport:
    answer = _parse_answer(said) if code == 0 else None
    match answer:
        case ProbeReport():
            return answer
        case Refused(reason, detail, hint):
            raise RejectionError(detail, reason=reason, hint=hint)
        case Unable(detail, hint):
            raise WorkerCrashedError(detail, hint=hint)
    tail = muttered.decode(errors="replace").strip()[-_TAIL:]
    if code == -signal.SIGXCPU:
        raise RejectionError(
            "the probe has used up the processor time it may take",
            reason=Reason.PROBE_TIMEOUT,
            hint="the model may be too large for this device",
        )
    if "bad_alloc" in tail:  # what C++ says at its end
        raise RejectionError(
            "the probe ran out of the memory it may take", reason=Reason.TOO_BIG, hint="convert the model smaller"
        )
    raise RejectionError(
        f"the probe ended with {describe_exit(code)} and without a result" + (f": {tail}" if tail else ""),
        reason=Reason.PROBE_CRASHED,
        hint="the model crashes its interpreter: convert it again, or with another scheme",
    )


def _parse_answer(said: bytes) -> Answer | None:
    """The last line: libraries print too."""
    try:
        tree = json.loads(said.splitlines()[-1])
        return schema.parse(_AnswerLine, {"answer": tree}, strict=False).answer
    except (ValueError, IndexError, schema.SchemaError):
        return None


@dataclass(frozen=True, slots=True)
class _AnswerLine:
    answer: Answer


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text)[:3])
