"""What triggers do: GPIO by a fake gpiod (and the real one without a chip), real programs, real files."""

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import enumerate as enumerate_threads

import pytest

from edge_agent.config.sinks import Gpio
from edge_agent.errors import TriggerError
from edge_agent.inference.triggers.command import Command
from edge_agent.inference.triggers.firing import MAX_BYTES, Firing
from edge_agent.inference.triggers.gpio import open_line
from edge_agent.inference.triggers.pin import Pin
from edge_agent.inference.triggers.snapshots import SnapshotFolder
from tests.sim.clock import FakeClock
from tests.sim.gpiod import FakeChips
from tests.sim.results import found, result
from tests.sim.waiting import until

CHIP = "/dev/gpiochip0"


class Told:
    """What was told of an action: problem and hint; (None, None) where it worked."""

    def __init__(self) -> None:
        self.all: list[tuple[str | None, str | None]] = []

    def __call__(self, problem: str | None, hint: str | None) -> None:
        self.all.append((problem, hint))

    @property
    def problems(self) -> list[str]:
        return [problem for problem, _ in self.all if problem is not None]


@pytest.fixture
def told() -> Told:
    return Told()


# --- GPIO ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def chips(monkeypatch: pytest.MonkeyPatch) -> FakeChips:
    chips = FakeChips(CHIP)
    chips.install(monkeypatch)
    return chips


def test_a_line_is_off_from_the_beginning_goes_on_and_off_and_is_let_go_off(chips: FakeChips, told: Told) -> None:
    clock = FakeClock()
    pin = Pin(Gpio(17, on_s=3.0), open_line, clock, told)
    chips.wait_for(0)
    pin.fire()
    chips.wait_for(0, 1, 0)
    until(lambda: told.all)
    assert clock.monotonic_s() == 3.0
    pin.fire()
    chips.wait_for(0, 1, 0, 1, 0)
    pin.close()
    assert chips.levels == [0, 1, 0, 1, 0, 0, None]
    assert (chips.requests, told.problems) == (1, [])


def test_a_line_can_be_active_low(chips: FakeChips, told: Told) -> None:
    pin = Pin(Gpio(17, active_low=True), open_line, FakeClock(), told)
    pin.fire()
    chips.wait_for(1, 0, 1)
    pin.close()
    assert chips.levels == [1, 0, 1, 1, None]


def test_closing_switches_a_line_off_that_is_on(chips: FakeChips, told: Told) -> None:
    from edge_agent.clock import SystemClock

    pin = Pin(Gpio(17, on_s=3600.0), open_line, SystemClock(), told)
    pin.fire()
    chips.wait_for(0, 1)
    pin.close()
    assert chips.levels == [0, 1, 0, 0, None]


def test_a_chip_that_comes_later_is_used_then(chips: FakeChips, told: Told) -> None:
    chips.paths.clear()
    pin = Pin(Gpio(17), open_line, FakeClock(), told)
    until(lambda: told.problems)
    assert told.problems == [f"line 17 of {CHIP}: No such file or directory"]
    chips.paths.add(CHIP)
    pin.fire()
    chips.wait_for(0, 1, 0)
    pin.close()


def test_a_line_that_somebody_else_has_is_told(chips: FakeChips, told: Told) -> None:
    first = Pin(Gpio(17), open_line, FakeClock(), told)
    chips.wait_for(0)
    second = Pin(Gpio(17), open_line, FakeClock(), told)
    until(lambda: told.problems)
    assert told.problems == [f"line 17 of {CHIP}: Device or resource busy"]
    second.close()
    assert chips.levels == [0]  # the first one's is untouched
    first.close()


def test_a_chip_that_is_pulled_out_is_told_and_stops_nothing(chips: FakeChips, told: Told) -> None:
    pin = Pin(Gpio(17), open_line, FakeClock(), told)
    chips.wait_for(0)
    chips.broken = True
    pin.fire()
    until(lambda: told.problems)
    pin.close()
    assert set(told.problems) == {f"line 17 of {CHIP}: No such device"}


def test_without_gpiod_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gpiod", None)
    with pytest.raises(TriggerError, match="GPIO needs gpiod") as caught:
        open_line(Gpio(17))
    assert caught.value.hint == "pip install 'edge-deploy[gpio]'"


@pytest.mark.parametrize(("chip", "reason"), [("/dev/gpiochip99", "No such file"), ("/dev/null", "")])
def test_the_real_gpiod_says_that_there_is_no_such_chip(chip: str, reason: str) -> None:
    pytest.importorskip("gpiod")
    with pytest.raises(TriggerError, match=f"line 17 of {chip}: .*{reason}") as caught:
        open_line(Gpio(17, chip))
    assert "gpioinfo" in (caught.value.hint or "")


# --- commands -----------------------------------------------------------------------------------------------------


@pytest.fixture
def commands() -> Iterator[list[Command]]:
    started: list[Command] = []
    yield started
    for command in started:
        command.close()


def script(*lines: str) -> tuple[str, ...]:
    return ("/bin/sh", "-c", "\n".join(lines))


def test_a_program_reads_what_fired_it(tmp_path: Path, told: Told, commands: list[Command]) -> None:
    commands.append(Command(("/bin/sh", "-c", f'cat > "{tmp_path}/$1"', "sh", "a b;c"), 20.0, told))
    commands[0].run(b'{"trigger":"cat"}' + b" " * 200_000)  # more than a pipe holds
    until(lambda: told.all)
    assert told.all == [(None, None)]
    assert json.loads((tmp_path / "a b;c").read_text()) == {"trigger": "cat"}  # no shell of ours has seen the name


def test_a_program_that_does_not_read_or_prints_a_lot_is_no_trouble(told: Told, commands: list[Command]) -> None:
    commands.append(Command((sys.executable, "-c", "print('x' * 5_000_000)"), 20.0, told))
    commands[0].run(b"x" * 200_000)
    until(lambda: told.all)
    assert told.all == [(None, None)]


def test_a_program_that_fails_is_told_and_what_it_printed_is_in_the_log(
    told: Told, commands: list[Command], caplog: pytest.LogCaptureFixture
) -> None:
    commands.append(Command(script("echo to stdout", "echo to stderr >&2", "exit 3"), 20.0, told))
    commands[0].run(b"{}")
    until(lambda: told.all)
    assert told.problems == ["/bin/sh ended with exit code 3"]
    assert "to stdout\nto stderr" in caplog.text


def test_a_program_that_is_not_there_is_told(told: Told, commands: list[Command]) -> None:
    commands.append(Command(("/no/such/program",), 20.0, told))
    commands[0].run(b"{}")
    until(lambda: told.all)
    assert told.problems == ["/no/such/program cannot be started: No such file or directory"]


def test_a_program_that_takes_too_long_is_killed_with_what_it_has_started(
    tmp_path: Path, told: Told, commands: list[Command]
) -> None:
    file = tmp_path / "pids"
    commands.append(Command(script(f"sleep 600 & echo $$ $! > {file}.new", f"mv {file}.new {file}", "wait"), 0.5, told))
    commands[0].run(b"{}")
    until(lambda: told.all)
    assert told.problems == ["/bin/sh ran for longer than 0.5 s and was killed"]
    for pid in file.read_text().split():
        until(lambda pid=pid: not is_running(int(pid)))  # type: ignore[misc]  # a default binds the loop's value


def test_one_runs_at_a_time(tmp_path: Path, told: Told, commands: list[Command]) -> None:
    go = tmp_path / "go"
    os.mkfifo(go)
    commands.append(Command(script(f"read line < {go}", f"echo ran >> {tmp_path}/log"), 20.0, told))
    commands[0].run(b"{}")
    commands[0].run(b"{}")
    assert told.problems == ["/bin/sh was still running, so it was not started again"]
    go.write_text("go\n")
    until(lambda: (None, None) in told.all)
    assert (tmp_path / "log").read_text() == "ran\n"


def test_what_a_program_leaves_behind_costs_neither_thread_nor_open_file(
    tmp_path: Path, told: Told, commands: list[Command]
) -> None:
    pid = tmp_path / "pid"
    commands.append(Command(script("echo hello", f"sleep 600 & echo $! > {pid}"), 20.0, told))
    files = len(os.listdir("/proc/self/fd"))
    commands[0].run(b"{}")
    until(lambda: told.all)
    assert told.all == [(None, None)]
    left_behind = int(pid.read_text())
    try:
        assert is_running(left_behind)
        until(lambda: not [thread for thread in enumerate_threads() if thread.name.startswith("trigger-")])
        assert len(os.listdir("/proc/self/fd")) <= files
    finally:
        os.kill(left_behind, signal.SIGKILL)


def test_closing_ends_what_runs(tmp_path: Path, told: Told) -> None:
    file = tmp_path / "pid"
    command = Command(script(f"echo $$ > {file}.new", f"mv {file}.new {file}", "sleep 600"), 600.0, told)
    command.run(b"{}")
    until(file.exists)
    command.close()
    assert not is_running(int(file.read_text()))
    assert told.problems == []  # it was us


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return state != "Z"


# --- pictures -----------------------------------------------------------------------------------------------------


def test_only_so_many_pictures_of_a_trigger_are_kept_and_nothing_else_is_touched(tmp_path: Path) -> None:
    folder = SnapshotFolder("cat", tmp_path, 2)
    ours = [folder.path_for(result("cat", seq=seq)) for seq in (7, 8, 9)]
    assert ours[0].name == "cat-20250615T150640.250Z-7.jpg"
    others = ["cat.jpg", "cat-door-20250615T150640.250Z-1.jpg", "cat-20250615T150640.250Z-1.png", "a.txt"]
    for path in (*ours, *(tmp_path / name for name in others)):
        path.touch()
    assert folder.prune() is None
    assert {path.name for path in tmp_path.iterdir()} == {*others, ours[1].name, ours[2].name}


def test_a_folder_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    problem = SnapshotFolder("cat", tmp_path / "none", 2).prune()
    assert problem is not None
    assert "No such file" in problem


# --- what is told -------------------------------------------------------------------------------------------------


def test_what_fired_is_json_of_bounded_size() -> None:
    many = tuple(found(f"cat {'x' * 5000}", stage="main") for _ in range(60))
    text = Firing("cat", "porch", result("cat"), 2.0, many).text()
    assert len(text) <= MAX_BYTES
    assert 0 < len(json.loads(text)["matches"]) < 60


def test_a_sentence_says_what_was_seen() -> None:
    def sentence(*matches: dict[str, object]) -> str:
        return Firing("cat", "porch", result("cat"), 2.04, matches).sentence()

    assert sentence(found("cat", 0.931)) == "cat (0.93), for 2.0 s"
    assert sentence(*(found("cat") for _ in range(5))) == "cat (0.9), cat (0.9), cat (0.9) and 2 more, for 2.0 s"
    assert sentence({"label": None, "index": 3, "score": 1.0, "value": 20.5}) == "#3 (20.5), for 2.0 s"
    assert sentence() == "nothing to be seen, for 2.0 s"
