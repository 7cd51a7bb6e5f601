"""Children that crash, hang or fall silent are errors like any other. Run as a module, this file is such a child."""

import errno
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from converter.child import answer_parent, run_child, working_folder
from converter.errors import CalibrationError, ConversionError
from edge_agent.errors import Reason, StorageError

ME = "tests.converter.test_child"


def ask(behavior: str, folder: Path, timeout_s: float = 60) -> Any:
    return run_child(ME, {"behave": behavior}, folder, what="testing", timeout_s=timeout_s)


def test_the_answer_comes_back(tmp_path: Path) -> None:
    assert ask("answer", tmp_path) == {"seen": "answer"}


def test_our_errors_keep_their_class_and_hint(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="too dark") as caught:
        ask("calibration", tmp_path)
    assert caught.value.hint == "use a lamp"


def test_foreign_errors_are_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"ZeroDivisionError: .* by zero") as caught:
        ask("foreign", tmp_path)
    assert caught.value.hint


@pytest.mark.parametrize("behavior", ["full", "full in a tool's words", "full of last words"])
def test_a_full_disk_is_told_whoever_notices(behavior: str, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no room left") as caught:
        ask(behavior, tmp_path)
    assert caught.value.reason is Reason.DISK_FULL
    assert "TMPDIR" in str(caught.value.hint)


def test_a_child_that_knows_which_disk_is_full_says_so_itself(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no room in the attic") as caught:
        ask("full attic", tmp_path)
    assert caught.value.hint == "clear it out"


def test_a_full_disk_leaves_no_folder_and_other_errors_are_left_alone() -> None:
    with pytest.raises(StorageError, match="no room left"), working_folder() as folder:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert not folder.exists()
    with pytest.raises(FileNotFoundError), working_folder() as folder:
        (folder / "missing").read_bytes()


def test_death_by_signal_names_the_signal_and_what_was_said_last(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="testing ended with signal SIGSEGV: last words") as caught:
        ask("crash", tmp_path)
    assert "NaN" in str(caught.value.hint)


def test_an_end_without_an_answer_is_an_error(tmp_path: Path) -> None:
    ask("answer", tmp_path)  # its answer must not be taken for that of the next
    with pytest.raises(ConversionError, match="exit code 0"):
        ask("silent", tmp_path)


def test_a_child_that_hangs_is_stopped(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="not done within 1 s"):
        ask("hang", tmp_path, timeout_s=1)


def behave(folder: Path, request: Mapping[str, Any]) -> object:
    assert folder.is_dir()
    match request["behave"]:
        case "calibration":
            raise CalibrationError("too dark", hint="use a lamp")
        case "foreign":
            return 1 // 0
        case "full attic":
            raise StorageError("no room in the attic", hint="clear it out")
        case "full":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "variables.data")
        case "full in a tool's words":
            raise RuntimeError("{{function_node save}} variables.data; No space left on device")
        case "full of last words":
            print("variables.data; No space left on device", flush=True)
            os._exit(1)
        case "crash":
            print("last words", flush=True)
            os.kill(os.getpid(), signal.SIGSEGV)
        case "silent":
            os._exit(0)
        case "hang":
            signal.pause()
        case "tell":
            return {"said": os.environ.get("SAID"), "folder": str(Path.cwd()), "parent": os.getppid()}
    return {"seen": request["behave"]}


if __name__ == "__main__":
    answer_parent(ME, behave)
