"""Lines of a serial port, over a real pseudo-terminal: what is written to one end is read at the other."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.config.row_sources import SerialSource
from edge_agent.errors import SourceError
from edge_agent.inference.frame import Nothing, Wanted
from edge_agent.inference.sources.source import new_source
from tests.inference.sources.rows import (
    gaps,
    open_source,
    take_all,
    unusable,
    values,
)
from tests.sim.clock import FakeClock

serial = pytest.importorskip("serial", reason="needs pyserial, the extra `serial`")


class Wire:
    """The device at the other end of the port."""

    def __init__(self) -> None:
        self._ours, theirs = os.openpty()
        self.port = os.ttyname(theirs)
        os.close(theirs)

    def write(self, content: bytes) -> None:
        os.write(self._ours, content)

    def unplug(self) -> None:
        if self._ours >= 0:
            os.close(self._ours)
            self._ours = -1


@pytest.fixture
def wire() -> Iterator[Wire]:
    wire = Wire()
    yield wire
    wire.unplug()


def test_lines_of_numbers_are_rows_and_the_first_half_of_one_is_thrown_away(wire: Wire) -> None:
    with open_source(SerialSource("serial", wire.port, names=("x", "y"))) as source:
        wire.write(b"99\r\n1,2\r\n\r\n3 4\n5;6\n")
        items = take_all(source, ("y", "x"), at_most=3)
    assert values(items) == [(2.0, 1.0), (4.0, 3.0), (6.0, 5.0)]
    assert gaps(items) == [True, False, False]
    assert items[0].name == f"{wire.port}:1"


def test_lines_may_come_in_pieces_and_be_json(wire: Wire) -> None:
    with open_source(SerialSource("serial", wire.port)) as source:
        wire.write(b'boot\n{"t": 2')
        wire.write(b'1.5}\n{"t": 22}\n')
        assert values(take_all(source, ("t",), at_most=2)) == [(21.5,), (22.0,)]


def test_what_the_device_chatters_is_told_and_the_next_row_is_read(wire: Wire) -> None:
    with open_source(SerialSource("serial", wire.port, names=("x", "y"))) as source:
        wire.write(b"\nESP-ROM: v1\n\xff\xfe\n1,2\n1,oops\n")
        items = take_all(source, at_most=4)
    assert values(items) == [(1.0, 2.0)]
    assert len(unusable(items)) == 3


def test_a_device_that_is_unplugged_is_a_source_error_and_one_that_comes_back_is_opened(wire: Wire) -> None:
    config = SerialSource("serial", wire.port)
    with open_source(config) as source:
        wire.write(b"\n1\n")
        assert values(take_all(source, at_most=1)) == [(1.0,)]
        wire.unplug()
        with pytest.raises(SourceError, match=r"Input/output error|hung up") as caught:
            source.take(Wanted())
        assert "plugged in" in str(caught.value.hint)
    again = Wire()
    with open_source(SerialSource("serial", again.port)) as source:
        again.write(b"\n2\n")
        items = take_all(source, at_most=1)
    again.unplug()
    assert (values(items), gaps(items)) == ([(2.0,)], [True])


def test_a_device_that_says_nothing_is_a_source_error_that_names_the_speed(wire: Wire) -> None:
    config = SerialSource("serial", wire.port, baud=9600, timeout_s=0.05)
    with open_source(config) as source, pytest.raises(SourceError, match=r"no line for 0\.05 s") as caught:
        source.take(Wanted())
    assert "9600 baud" in str(caught.value.hint)


def test_a_device_that_is_slow_gives_nothing_for_now_and_no_fault(wire: Wire) -> None:
    with open_source(SerialSource("serial", wire.port, timeout_s=60)) as source:
        wire.write(b"\n1")
        assert source.take(Wanted()) == Nothing()
        wire.write(b"2\n")
        assert values(take_all(source, at_most=1)) == [(12.0,)]


def test_what_has_waited_while_there_was_no_model_is_old_and_thrown_away(wire: Wire) -> None:
    clock = FakeClock()
    with new_source(SerialSource("serial", wire.port), clock) as source:
        wire.write(b"\n1\n2\n")
        assert values(take_all(source, at_most=1)) == [(1.0,)]
        wire.write(b"3\n4\n")
        clock.advance(3)
        assert source.take(Wanted()) == Nothing()
        wire.write(b"half\n5\n")
        items = take_all(source, at_most=1)
    assert (values(items), gaps(items)) == ([(5.0,)], [True])


def test_a_port_that_is_not_there_is_told_with_a_hint(tmp_path: Path) -> None:
    for device in (tmp_path / "ttyUSB0", tmp_path):
        with pytest.raises(SourceError, match="cannot be opened") as caught:
            open_source(SerialSource("serial", str(device))).__enter__()
        assert caught.value.hint


def test_a_port_that_somebody_else_reads_is_not_shared(wire: Wire) -> None:
    config = SerialSource("serial", wire.port)
    with (
        open_source(config),
        pytest.raises(SourceError, match="cannot be opened: Resource temporarily unavailable") as caught,
    ):
        open_source(config).__enter__()
    assert "another program" in str(caught.value.hint)


def test_without_pyserial_the_hint_is_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "serial", None)
    with pytest.raises(SourceError, match="pyserial") as caught:
        open_source(SerialSource("serial", "/dev/ttyUSB0")).__enter__()
    assert caught.value.hint == "pip install 'edge-deploy[serial]'"
