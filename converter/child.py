"""Work that may crash, hang or chatter runs in a child process: front-ends, the quantizer, every load of a model.

A model calibrated with NaN kills the interpreter with a signal, TensorFlow writes to file descriptors from C++: so
the child's output goes to a log file, its answer into a JSON file, and its death by signal is an error like any other.
What is done in a child is left to the modules that have a `main` here: `frontends.keras`, `quantize`, `fidelity`.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from converter.errors import CalibrationError, ConversionError, RecipeError
from edge_agent.errors import EdgeError, Reason, StorageError, describe_exit

_ERRORS: Mapping[str, type[EdgeError]] = {
    kind.__name__: kind for kind in (CalibrationError, ConversionError, RecipeError, StorageError)
}
# As the C library words them (errno ENOSPC, EDQUOT, EFBIG): frameworks pass them on inside errors of their own.
_DISK_FULL = ("No space left on device", "Disk quota exceeded", "File too large")
_FULL = "disk full"  # in the place of an error's class
_TAIL_LINES = 6
_TOLD = "progress: "  # how a line begins that is for the parent
_NO_ROOM_BYTES = 1 << 16
_HINT = "these are the words of the tool that was used; check the model where it was made"


def run_child(
    module: str,
    request: Mapping[str, Any],
    folder: Path,
    *,
    what: str,
    timeout_s: float,
    tell: Callable[[str], None] | None = None,
) -> Any:
    """Run `python -m module` on `request`; gives the answer of its work.

    Request, answer and log go into `folder`; `what` is for messages: `quantizing the model`. `tell` gets what the child
    says by `tell_parent` while it works.

    Raises:
        CalibrationError, RecipeError, ConversionError, StorageError: those of the child; ConversionError if it crashed,
            hung or ended without an answer; StorageError if the disk is full.
    """
    stem = module.rpartition(".")[2]
    (folder / f"{stem}.request.json").write_text(json.dumps(request), encoding="utf-8")
    answer_path, log_path = folder / f"{stem}.answer.json", folder / f"{stem}.log"
    answer_path.unlink(missing_ok=True)
    with open(log_path, "wb") as log:
        command = [sys.executable, "-m", module, str(folder)]
        environment = {**os.environ, "PYTHONWARNINGS": "ignore", "TF_CPP_MIN_LOG_LEVEL": "2", "TMPDIR": str(folder)}
        process = _start(command, environment, subprocess.PIPE if tell else log, log)
        try:
            code = _followed(process, log, tell, timeout_s) if tell else process.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            raise ConversionError(
                f"{what} was not done within {timeout_s:.0f} s", hint="try a smaller model, or less calibration data"
            ) from error
        finally:
            process.kill()  # of one that has ended: nothing
            process.wait()
    answered = answer_path.is_file() and answer_path.stat().st_size > 0
    if not answered and (shutil.disk_usage(folder).free < _NO_ROOM_BYTES or is_full(_tail(log_path))):
        raise _disk_full(folder)
    if not answered:
        raise ConversionError(f"{what} ended with {describe_exit(code)}{_tail(log_path)}", hint=_crash_hint(code))
    answer = json.loads(answer_path.read_text(encoding="utf-8"))
    if answer.get("error") == _FULL:
        raise _disk_full(folder)
    if "error" in answer:
        kind = _ERRORS.get(answer["error"], ConversionError)
        raise kind(answer["message"], hint=answer["hint"])
    return answer["answer"]


def tell_parent(text: str) -> None:
    """Say in a child what it is at; reaches the parent where that listens."""
    print(f"{_TOLD}{text}", flush=True)


@contextmanager
def working_folder() -> Iterator[Path]:
    """A folder for the files of a conversion, gone with all that is in it at the end.

    Raises:
        StorageError: there is no room left for what is written there.
    """
    folder = Path(tempfile.gettempdir())
    try:
        with tempfile.TemporaryDirectory(prefix="edgectl-") as temporary:
            folder = Path(temporary)
            yield folder
    except OSError as error:
        if is_full(str(error)):
            raise _disk_full(folder) from error
        raise


def answer_parent(module: str, work: Callable[[Path, Mapping[str, Any]], object]) -> None:
    """The `main` of such a child: do `work(folder, request)` and leave its answer, or its error, for the parent."""
    folder = Path(sys.argv[1])
    stem = module.rpartition(".")[2]
    request = json.loads((folder / f"{stem}.request.json").read_text(encoding="utf-8"))
    try:
        answer: dict[str, object] = {"answer": work(folder, request)}
    except EdgeError as error:
        answer = {"error": type(error).__name__, "message": str(error), "hint": error.hint}
    except Exception as error:  # noqa: BLE001  # the worker ends here; foreign libraries raise anything
        traceback.print_exc()
        last = str(error).strip().splitlines()[-1:] or [""]
        answer = {"error": "", "message": f"{type(error).__name__}: {last[0]}", "hint": _HINT}
        if is_full(str(error)):
            answer["error"] = _FULL
    (folder / f"{stem}.answer.json").write_text(json.dumps(answer), encoding="utf-8")


def is_full(text: str) -> bool:
    """Whether an error, in whatever words, is that of a full disk."""
    return any(words in text for words in _DISK_FULL)


def _start(
    command: list[str], environment: Mapping[str, str], stdout: int | IO[bytes], log: IO[bytes]
) -> "subprocess.Popen[bytes]":
    """Tests put another one in its place, whose children have their framework loaded (tests/frontends/warm.py)."""
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=log, env=environment)


def _followed(process: "subprocess.Popen[bytes]", log: IO[bytes], tell: Callable[[str], None], timeout_s: float) -> int:
    """Hand on what the child tells, and write the rest of its output to the log, until it ends."""
    assert process.stdout is not None
    too_late = threading.Event()

    def end() -> None:
        too_late.set()
        process.kill()

    late = threading.Timer(timeout_s, end)
    late.start()
    try:
        with process.stdout as lines:
            for line in lines:
                text = line.decode("utf-8", "replace").rstrip()
                if text.startswith(_TOLD):
                    tell(text.removeprefix(_TOLD))
                else:
                    log.write(line)
        code = process.wait()
    finally:
        late.cancel()
    if too_late.is_set():
        raise subprocess.TimeoutExpired(process.args, timeout_s)
    return code


def _disk_full(folder: Path) -> StorageError:
    return StorageError(
        f"there is no room left in {folder.parent}, where the conversion works",
        reason=Reason.DISK_FULL,
        hint="free some space, or set TMPDIR to a folder on another disk",
    )


def _crash_hint(code: int) -> str | None:
    return (
        "the model or its calibration data crashes the interpreter; look for NaN or Inf in both" if code < 0 else None
    )


def _tail(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return ": " + " | ".join(lines[-_TAIL_LINES:]) if lines else ""
