"""Every error of ours, sorted by what is to be done about it, and the closed list of reasons.

The class is the policy: `RejectionError` (these bytes will never do), `FetchError` and `StorageError` (try
again later), `LinkError` (keep trying to connect), `SourceError` (the input, not the model), `WorkerCrashedError`
(start it again, but not for ever), `ConfigError` and `PluginError` (stop for the operator). Foreign exceptions are
wrapped where the foreign library is imported. What their messages are worded with stands at the end.
"""

import signal
from enum import StrEnum


class Reason(StrEnum):
    """Why a release was refused, rolled back, or is waiting. Closed: the wire protocol lists these."""

    INTEGRITY = "integrity"  # the bytes are not those that were signed
    SIGNATURE = "signature"  # signed by nobody we know, or not enough of them
    EXPIRED = "expired"
    REPLAYED = "replayed"  # older than what this device has already trusted
    WRONG_TARGET = "wrong_target"  # signed, but for another model or channel
    INCOMPATIBLE = "incompatible"  # needs a newer agent, another architecture, an input this pipeline has not
    BAD_MANIFEST = "bad_manifest"
    NOT_A_MODEL = "not_a_model"
    UNSUPPORTED_OPERATOR = "unsupported_operator"
    MISSING_DELEGATE = "missing_delegate"
    LOAD_FAILED = "load_failed"
    LABELS_MISMATCH = "labels_mismatch"
    GOLDEN_MISMATCH = "golden_mismatch"  # its answers are not the ones it was published with
    PROBE_CRASHED = "probe_crashed"
    PROBE_TIMEOUT = "probe_timeout"
    TOO_SLOW = "too_slow"
    TOO_BIG = "too_big"
    TRIAL_ERRORS = "trial_errors"
    FINDS_NOTHING = "finds_nothing"  # in too many live frames
    DRIFTED = "drifted"  # its scores are not spread as those of the release before
    DISAGREES = "disagrees"  # in its shadow run, with the release before
    CRASH_LOOP = "crash_loop"
    ROTTEN = "rotten"  # what is installed no longer has its digest
    OPERATOR = "operator"  # somebody asked for it
    # Waiting, not refused:
    CORRUPT_CHUNK = "corrupt_chunk"
    MISSING_CHUNK = "missing_chunk"
    BAD_PATCH = "bad_patch"  # a patch could not be used; the whole chunks are fetched instead
    DISK_FULL = "disk_full"
    DISK_FAILED = "disk_failed"
    POSTPONED = "postponed"  # quiet hours, or it is not this device's turn yet
    WEB_SOURCE = "web_source"  # a web server that the release names gives nothing; the broker is asked instead
    NO_KEY = "no_key"  # encrypted, and not for this device
    SOURCE = "source"  # the camera, folder or sensor gives nothing, or the stage that gives the crops
    LINK = "link"  # the broker lets us connect but not hear


class EdgeError(Exception):
    """Something a person can read: what was expected and what was found, and in `hint` what to try."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class ConfigError(EdgeError):
    """What a person wrote cannot be followed; `str()` lists every problem at once."""


class InputError(EdgeError):
    """A file given on the command line is not what it should be."""


class PluginError(EdgeError):
    """A source, task or sink of another distribution is not installed here, or cannot be used."""


class SourceError(EdgeError):
    """A camera, folder, video or sensor gives nothing (any more)."""


class FrameError(EdgeError):
    """One frame cannot be used (not an image, say); the next one may be fine."""


class WorkerCrashedError(EdgeError):
    """The worker process ended, or never answered, while something was expected of it."""


class TriggerError(EdgeError):
    """What a trigger was to do could not be done; the next time it may be."""


class LinkError(EdgeError):
    """The broker cannot be reached, or refuses us."""


class FetchError(EdgeError):
    """A release could not be fetched now; later it may."""

    def __init__(self, message: str, *, reason: Reason, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


class StorageError(EdgeError):
    """The disk is full or failing."""

    def __init__(self, message: str, *, reason: Reason = Reason.DISK_FAILED, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


class RejectionError(EdgeError):
    """These bytes will never do on this device; trying again changes nothing."""

    def __init__(self, message: str, *, reason: Reason, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


class TrustError(RejectionError):
    """A release document that must not be believed."""


class ArtifactError(RejectionError):
    """An artifact, manifest or index that breaks the format or its own digests."""


class ModelError(RejectionError):
    """A model the engine cannot load or run."""


def describe_exit(code: int) -> str:
    """`signal SIGSEGV` or `exit code 70`."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"


def counted(number: int, noun: str, several: str | None = None) -> str:
    """`1 row`, `2 rows`; `several`: of a noun that does not just take an s."""
    return f"{number} {noun if number == 1 else several or f'{noun}s'}"
