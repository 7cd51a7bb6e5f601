"""A forked child is to `run_child` what a started one is: its answers, errors, deaths and silences."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from converter.errors import CalibrationError, ConversionError
from tests.converter.test_child import ME, ask
from tests.frontends.warm import Templates

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="children are forked on Linux only")


@pytest.fixture(autouse=True)
def _template(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with Templates({ME: ("json",)}) as templates:
        monkeypatch.setattr("converter.child._start", templates.start)
        yield


def test_it_answers_and_keeps_the_class_of_its_errors(tmp_path: Path) -> None:
    assert ask("answer", tmp_path) == {"seen": "answer"}
    with pytest.raises(CalibrationError, match="too dark"):
        ask("calibration", tmp_path)
    with pytest.raises(ConversionError, match="ZeroDivisionError"):
        ask("foreign", tmp_path)


def test_its_death_and_its_silence_are_told_and_the_next_one_answers(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="testing ended with signal SIGSEGV: last words"):
        ask("crash", tmp_path)
    with pytest.raises(ConversionError, match="exit code 0"):
        ask("silent", tmp_path)
    with pytest.raises(ConversionError, match="not done within 1 s"):
        ask("hang", tmp_path, timeout_s=1)
    assert ask("answer", tmp_path) == {"seen": "answer"}


def test_it_has_the_environment_and_the_folder_of_who_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ask("answer", tmp_path)  # its template has another
    monkeypatch.setenv("SAID", "now")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    told = ask("tell", tmp_path)

    assert (told["said"], told["folder"]) == ("now", str(tmp_path / "here"))
    assert told["parent"] != os.getpid()  # forked, not started
