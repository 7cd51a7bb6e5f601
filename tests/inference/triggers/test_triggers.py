"""Triggers of a whole pipeline: configuration in, messages, pins, programs and pictures out."""

import json
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from edge_agent.config.agent import parse_config
from edge_agent.inference.gallery import Gallery
from edge_agent.inference.ipc import Result, Snapshot, SnapshotWritten, format_line, parse_order, parse_word
from edge_agent.inference.triggers.gpio import open_line
from edge_agent.inference.triggers.triggers import Ports, Triggers
from edge_agent.transform.picture import WHOLE
from tests.sim.clock import FakeClock
from tests.sim.gallery import put
from tests.sim.gpiod import FakeChips
from tests.sim.results import found
from tests.sim.waiting import until

BROKER = '[mqtt]\nurl = "mqtt://broker"\n[trust]\nroot = "root.json"\n'


class Porch:
    """A pipeline with triggers, and the world they act on."""

    def __init__(self, triggers: str, *, worker: bool = True) -> None:
        text = '[pipeline.porch]\nmodel = "finder"\nsource = { kind = "folder", path = "pictures" }\n' + triggers
        config = parse_config(tomllib.loads(BROKER + text)).pipeline["porch"]
        self.clock = FakeClock()
        self.gallery = Gallery()
        self.messages: list[tuple[str, dict[str, Any]]] = []
        self.snapshots: list[tuple[int, Path]] = []
        self.connected = True
        self.worker = worker
        self.triggers = Triggers("porch", config, Ports(self._publish, self._snapshot, open_line), self.clock)
        self._seq = 0

    def _publish(self, topic: str, payload: bytes) -> bool:
        if self.connected:
            self.messages.append((topic, json.loads(payload)))
        return self.connected

    def _snapshot(self, seq: int, path: Path) -> bool:
        if self.worker:
            self.snapshots.append((seq, path))
        return self.worker

    def see(self, *labels: str, after_s: float = 0.5) -> Result:
        self.clock.advance(after_s)
        self._seq += 1
        seen = put(self.gallery, self._seq, None, WHOLE, *map(found, labels))
        self.triggers.take(seen)
        return seen

    def draw(self, problem: str | None = None) -> Path:
        """What the worker does when it is asked for a picture, with all that travels between the two."""
        seq, path = self.snapshots[-1]
        order = parse_order(format_line(Snapshot(seq, str(path))))
        assert isinstance(order, Snapshot)
        word = SnapshotWritten(seq, str(path), problem)
        if problem is None:
            word = self.gallery.snapshot(order.seq, Path(order.path))
        heard = parse_word(format_line(word))
        assert isinstance(heard, SnapshotWritten)
        self.triggers.written(heard)
        return path

    def details(self, kind: str = "trigger") -> list[object]:
        return [event["detail"] for event in self.triggers.events() if event["kind"] == kind]


def test_a_person_for_two_seconds_sets_off_a_message_a_pin_a_picture_and_a_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing but configuration."""
    chips = FakeChips("/dev/gpiochip0")
    chips.install(monkeypatch)
    program = f"import sys, shutil; shutil.copyfileobj(sys.stdin, open({str(tmp_path / 'heard.json')!r}, 'w'))"
    porch = Porch(f"""
        [[pipeline.porch.triggers]]
        name = "visitor"
        when = {{ label = "person", min_score = 0.6, for_s = 2.0 }}
        cool_down_s = 30.0
        topic = "visitor"
        gpio = {{ line = 17, on_s = 1.0 }}
        command = ['{sys.executable}', '-c', "{program}"]
        snapshot = '{tmp_path / "visitors"}'
        """)
    for _ in range(4):
        porch.see("person", "dog")
        assert (porch.messages, porch.snapshots) == ([], [])
    fifth = porch.see("person", "dog")
    path = tmp_path / "visitors" / "visitor-20250615T150640.250Z-5.jpg"
    expected = {
        "trigger": "visitor",
        "at": "2025-06-15T15:06:40.250Z",
        "pipeline": "porch",
        "input": "5.jpg",
        "held_s": 2.0,
        "matches": [{"stage": "main", **found("person")}],
        "snapshot": str(path),
    }
    assert porch.messages == [("visitor", expected)]
    assert porch.snapshots == [(fifth.seq, path)]
    chips.wait_for(0, 1, 0)
    assert not (tmp_path / "heard.json").exists()  # the program is to have the picture
    assert porch.draw() == path
    with Image.open(path) as image:
        assert (image.format, image.size) == ("JPEG", (320, 240))
    until(lambda: (tmp_path / "heard.json").exists() and (tmp_path / "heard.json").read_text())
    assert json.loads((tmp_path / "heard.json").read_text()) == expected
    porch.see("person", "dog")  # still there, and cooling down
    assert len(porch.messages) == 1
    assert porch.triggers.events() == [
        {"kind": "trigger", "pipeline": "porch", "detail": "visitor: person (0.9), for 2.0 s"}
    ]
    porch.triggers.close()
    assert chips.levels[-2:] == [0, None]


MESSAGE = """
[[pipeline.porch.triggers]]
name = "cat"
when = { label = "cat" }
cool_down_s = 10.0
topic = "cat"
"""


def test_it_fires_again_once_it_has_cooled_down() -> None:
    porch = Porch(MESSAGE)
    for after_s in (0.0, 5.0, 4.9, 0.1, 9.0):
        porch.see("cat", after_s=after_s)
    assert len(porch.messages) == 2
    assert len(porch.details()) == 2


def test_a_wall_clock_that_jumps_fires_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    porch = Porch(MESSAGE.replace('"cat" }', '"cat", for_s = 3600.0 }'))
    porch.see("cat")
    monkeypatch.setattr(porch.clock, "_began_s", 4e9)
    porch.see("cat")
    assert porch.messages == []


def test_a_trigger_without_cooling_floods_nobody_with_events() -> None:
    porch = Porch(MESSAGE.replace("10.0", "0.0"))
    for _ in range(50):
        porch.see("cat", after_s=0.25)
    assert len(porch.messages) == 50
    assert porch.details() == ["cat: cat (0.9), for 0.0 s", "cat: cat (0.9), for 10.0 s (and 39 times before)"]


def test_a_message_that_cannot_be_sent_is_told_once() -> None:
    porch = Porch(MESSAGE)
    porch.connected = False
    for _ in range(3):
        porch.see("cat", after_s=11.0)
    assert porch.details("trigger_failed") == ["cat: message: the link to the broker is down: the message is lost"]
    porch.connected = True
    porch.see("cat", after_s=11.0)
    porch.connected = False
    porch.see("cat", after_s=11.0)
    assert len(porch.details("trigger_failed")) == 1  # it is another time


def test_what_was_so_before_an_interruption_does_not_count() -> None:
    porch = Porch(MESSAGE.replace('"cat" }', '"cat", for_s = 2.0 }'))
    porch.see("cat")
    porch.triggers.interrupted()
    porch.see("cat", after_s=3600.0)
    assert porch.messages == []


# --- pictures and programs ------------------------------------------------------------------------------------------


def picture_and_program(tmp_path: Path, keep: int = 100) -> str:
    return f"""
        [[pipeline.porch.triggers]]
        name = "cat"
        when = {{ label = "cat" }}
        cool_down_s = 0.0
        command = ["/bin/sh", "-c", "cat >> {tmp_path}/heard; echo >> {tmp_path}/heard"]
        snapshot = "{tmp_path}/cats"
        snapshot_keep = {keep}
        """


def heard(tmp_path: Path) -> list[Any]:
    file = tmp_path / "heard"
    return [json.loads(line).get("snapshot") for line in file.read_text().splitlines()] if file.exists() else []


def test_a_program_runs_without_a_picture_that_cannot_be_drawn(tmp_path: Path) -> None:
    porch = Porch(picture_and_program(tmp_path))
    porch.see("cat")
    porch.draw("the picture is not kept any more")
    until(lambda: heard(tmp_path) == [None])
    assert porch.details("trigger_failed") == ["cat: snapshot: the picture is not kept any more"]
    porch.triggers.close()


def test_a_program_runs_without_a_picture_that_never_comes(tmp_path: Path) -> None:
    porch = Porch(picture_and_program(tmp_path))
    porch.see("cat")
    porch.triggers.interrupted()  # the worker is gone, or its source is and the picture will come
    assert porch.details("trigger_failed") == []
    porch.clock.advance(11.0)
    assert porch.details("trigger_failed") == ["cat: snapshot: the worker has not written it in time"]
    until(lambda: heard(tmp_path) == [None])
    porch.triggers.close()


def test_a_program_runs_without_a_picture_when_there_is_no_worker(tmp_path: Path) -> None:
    porch = Porch(picture_and_program(tmp_path), worker=False)
    porch.see("cat")
    until(lambda: heard(tmp_path) == [None])
    assert porch.details("trigger_failed") == ["cat: snapshot: there is no worker to draw the picture"]
    porch.triggers.close()


def test_old_pictures_go_when_a_new_one_is_written(tmp_path: Path) -> None:
    porch = Porch(picture_and_program(tmp_path, keep=2))
    paths = []
    for _ in range(3):
        porch.see("cat", after_s=20.0)
        paths.append(porch.draw())
    assert sorted((tmp_path / "cats").iterdir()) == paths[1:]
    porch.triggers.close()
