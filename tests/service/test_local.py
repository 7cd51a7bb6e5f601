"""`status` and `rollback` while no agent runs, and the lock that says whether one does."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge_agent import schema
from edge_agent.config.agent import Config, parse_config
from edge_agent.control import ControlServer
from edge_agent.disk import open_disk
from edge_agent.errors import ConfigError, EdgeError, InputError, Reason, StorageError
from edge_agent.release.document import Target
from edge_agent.release.manifest import MANIFEST_FILE, MODEL_FILE
from edge_agent.release.rollout import Rollout
from edge_agent.service.local import only_agent, read_status, roll_back, state_directory
from edge_agent.service.trusted import Believed, Channel
from edge_agent.update.journal import ForeignRecordError, Journal
from edge_agent.update.machine import Fetching, Idle, Outcome, Record, Rejection, Trial
from edge_agent.update.store import ReleaseStore
from edge_agent.update.upgrade import SCHEMA
from tests.sim.records import format_tree
from tests.sim.releases import make_release

OLD, NEW, NEXT = make_release("1.0"), make_release("2.0"), make_release("3.0")
UPDATED = Record(NEW.digest, OLD.digest, last=Outcome(NEW.digest, "committed"))


class Device:
    """A stopped one, with two releases on its disk."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"
        self.journal = Journal(open_disk(self.state), "birds", "main")
        self.store = ReleaseStore(open_disk(self.state), self.state)
        for release in (OLD, NEW):
            self.store.adopt_file(release.write(folder / "release.edge"))

    @property
    def config(self) -> Config:
        return parse_config(self._tree)

    @property
    def config_with_broker(self) -> Config:
        return parse_config({**self._tree, "mqtt": {"url": "mqtt://broker"}, "trust": {"root": "/nowhere/root.json"}})

    @property
    def _tree(self) -> dict[str, object]:
        pipeline = {"model": "birds", "source": {"kind": "folder", "path": "/nowhere"}}
        return {"device": {"id": "porch"}, "storage": {"state_dir": str(self.state)}, "pipeline": {"birds": pipeline}}

    def believe(self, target: Target) -> None:
        """As `service.trusted` keeps what a document said."""
        content = json.dumps(schema.dump(Believed(target, "{}"))).encode()
        open_disk(self.state).write_atomic(Channel(target.model, target.channel).file, content)


@pytest.fixture
def device(tmp_path: Path) -> Device:
    device = Device(tmp_path)
    device.journal.write(UPDATED)
    return device


# --- status ------------------------------------------------------------------------------------------------


def test_the_status_of_a_stopped_agent_is_that_of_its_record(device: Device) -> None:
    status = read_status(device.config)

    assert (status["running"], status["device"]) == (False, "porch")
    stage = status["pipelines"]["birds"]["main"]
    assert stage["current"] == {"digest": NEW.digest, "version": "2.0"}
    assert stage["previous"] == {"digest": OLD.digest, "version": "1.0"}
    assert (stage["phase"], stage["last"]["version"]) == ("idle", "2.0")


@pytest.mark.parametrize(
    ("change", "record", "reason"),
    [
        ({"rollout": Rollout(percent=0)}, UPDATED, "not_in_rollout"),
        ({"rollout": Rollout(state="halted")}, UPDATED, "halted"),
        ({"version": "1.5"}, UPDATED, "downgrade"),
        ({}, Record(NEW.digest, rejected=(Rejection(NEXT.digest, Reason.TOO_SLOW),)), "rejected_before"),
    ],
)
def test_the_status_of_a_stopped_agent_says_why_it_does_not_take_what_it_heard_of_last(
    device: Device, change: dict[str, Any], record: Record, reason: str
) -> None:
    device.journal.write(record)
    target = replace(NEXT.target, **change)
    device.believe(target)
    stage = read_status(device.config_with_broker)["pipelines"]["birds"]["main"]

    assert (stage["held"]["digest"], stage["held"]["reason"]) == (NEXT.digest, reason)
    assert stage["held"]["version"] == target.version
    assert "held_unknown" not in stage


def test_a_stopped_agent_holds_nothing_that_it_is_about_to_take(device: Device) -> None:
    device.believe(NEXT.target)
    stage = read_status(device.config_with_broker)["pipelines"]["birds"]["main"]

    assert {"held", "held_unknown"} & set(stage) == set()


@pytest.mark.parametrize("content", [None, b"{", b'{"target": {}}'])
def test_a_stopped_agent_that_cannot_know_what_it_holds_says_so(device: Device, content: bytes | None) -> None:
    if content is not None:
        open_disk(device.state).write_atomic(Channel("birds", "stable").file, content)
    stage = read_status(device.config_with_broker)["pipelines"]["birds"]["main"]

    assert "held" not in stage
    assert stage["held_unknown"] == "no believed document of birds/stable is on this disk"
    assert stage["current"]["version"] == "2.0"


def test_a_device_without_a_broker_follows_no_channel_and_holds_nothing(device: Device) -> None:
    device.believe(replace(NEXT.target, rollout=Rollout(state="halted")))  # of a time when it had one
    stage = read_status(device.config)["pipelines"]["birds"]["main"]

    assert {"held", "held_unknown"} & set(stage) == set()


def test_the_status_of_a_device_that_never_ran_is_empty_and_makes_nothing(tmp_path: Path) -> None:
    config = parse_config(
        {
            "storage": {"state_dir": str(tmp_path / "state")},
            "pipeline": {"birds": {"model": "birds", "source": {"kind": "folder", "path": "/x"}}},
        }
    )
    assert read_status(config)["pipelines"]["birds"]["main"]["phase"] == "idle"
    assert not (tmp_path / "state").exists()


def test_a_release_that_has_rotten_is_shown_without_its_version(device: Device) -> None:
    (device.store.directory(NEW.digest) / MANIFEST_FILE).write_bytes(b"{")
    stage = read_status(device.config)["pipelines"]["birds"]["main"]

    assert stage["current"] == {"digest": NEW.digest}
    assert stage["previous"]["version"] == "1.0"


def test_a_damaged_record_is_an_error_with_a_hint_and_stays_where_it_is(device: Device) -> None:
    path = device.state / device.journal.name
    path.write_bytes(b"{}")
    with pytest.raises(StorageError, match="is damaged") as caught:
        read_status(device.config)

    assert caught.value.hint is not None
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_the_status_of_an_agent_that_is_older_than_its_record_says_so_and_what_serves(device: Device) -> None:
    content = _of_a_newer_agent(device)
    stage = read_status(device.config)["pipelines"]["birds"]["main"]

    assert (stage["current"]["version"], stage["previous"]["version"]) == ("2.0", "1.0")
    assert stage["problem"]["reason"] == Reason.INCOMPATIBLE
    assert f"has schema {SCHEMA + 1}" in stage["problem"]["detail"]
    assert (device.state / device.journal.name).read_bytes() == content


def test_a_record_of_a_newer_agent_is_not_rolled_back(device: Device) -> None:
    content = _of_a_newer_agent(device)
    with pytest.raises(ForeignRecordError):
        roll_back(device.config, "birds", None)

    assert (device.state / device.journal.name).read_bytes() == content


def _of_a_newer_agent(device: Device) -> bytes:
    tree = {"schema": SCHEMA + 1, "current": NEW.digest, "previous": OLD.digest, "phase": "afloat"}
    content = format_tree(tree)
    (device.state / device.journal.name).write_bytes(content)
    return content


def test_a_running_agent_answers_for_itself(device: Device) -> None:
    with ControlServer(device.state, lambda request: {"device": "porch", "pipelines": {}, "asked": request["ask"]}):
        assert read_status(device.config) == {
            "running": True, "device": "porch", "pipelines": {}, "asked": "status",
        }  # fmt: skip


# --- roll back -----------------------------------------------------------------------------------------------


def test_a_stopped_agent_is_rolled_back_in_its_record(device: Device) -> None:
    stage = roll_back(device.config, "birds", None)

    assert stage["current"] == {"digest": OLD.digest, "version": "1.0"}
    assert device.journal.read() == Record(
        OLD.digest,
        None,
        rejected=(Rejection(NEW.digest, Reason.OPERATOR),),
        last=Outcome(NEW.digest, "rolled_back", Reason.OPERATOR),
    )


def test_a_trial_that_was_going_on_ends_and_what_is_committed_stays(device: Device) -> None:
    device.journal.write(Record(OLD.digest, None, Trial(NEW.digest, 1)))
    roll_back(device.config, "birds", "main")

    record = device.journal.read()
    assert (record.current, record.phase, record.refuses(NEW.digest)) == (OLD.digest, Idle(), True)


def test_a_fetch_that_was_going_on_does_so_and_is_not_what_is_given_up(device: Device) -> None:
    fetching = Fetching("c" * 64)
    device.journal.write(Record(NEW.digest, OLD.digest, fetching))
    roll_back(device.config, "birds", None)

    record = device.journal.read()
    assert (record.current, record.phase, record.refuses(fetching.digest)) == (OLD.digest, fetching, False)


@pytest.mark.parametrize("record", [Record(), Record(NEW.digest)])
def test_without_a_release_to_go_back_to_nothing_is_changed(device: Device, record: Record) -> None:
    device.journal.write(record)
    with pytest.raises(InputError, match="no earlier release"):
        roll_back(device.config, "birds", None)
    assert device.journal.read() == record


def test_a_rotten_release_is_none_to_go_back_to(device: Device) -> None:
    (device.store.directory(OLD.digest) / MODEL_FILE).write_bytes(b"rot")
    with pytest.raises(InputError, match="has rotten"):
        roll_back(device.config, "birds", None)
    assert device.journal.read() == UPDATED


def test_a_running_agent_is_asked_and_its_record_is_left_to_it(device: Device) -> None:
    asked: list[object] = []

    def answer(request: object) -> dict[str, object]:
        asked.append(request)
        return {"stage": {"phase": "idle"}}

    with ControlServer(device.state, answer):
        assert roll_back(device.config, "birds", None) == {"phase": "idle"}
    assert asked == [{"ask": "rollback", "pipeline": "birds", "stage": "main"}]
    assert device.journal.read() == UPDATED


def test_while_another_process_holds_the_state_its_record_is_not_touched(device: Device) -> None:
    with only_agent(device.state), pytest.raises(EdgeError, match="another agent is running"):
        roll_back(device.config, "birds", None)
    assert device.journal.read() == UPDATED
    with only_agent(device.state):
        pass


@pytest.mark.parametrize(("pipeline", "stage"), [("bats", None), ("birds", "second")])
def test_a_pipeline_or_stage_that_is_not_there_is_named(device: Device, pipeline: str, stage: str | None) -> None:
    with pytest.raises(ConfigError) as caught:
        roll_back(device.config, pipeline, stage)
    assert caught.value.hint in ("configured: birds", "--stage main")
    assert device.journal.read() == UPDATED


# --- the state directory ---------------------------------------------------------------------------------------


def test_the_state_is_where_it_is_configured_or_where_systemd_says(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    unsaid = parse_config({"pipeline": {"b": {"model": "m", "source": {"kind": "folder", "path": "/x"}}}})
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    assert state_directory(unsaid) == Path("/var/lib/edge-agent")
    monkeypatch.setenv("STATE_DIRECTORY", "/run/one:/run/two")
    assert state_directory(unsaid) == Path("/run/one")
    assert state_directory(device.config) == device.state


def test_a_state_directory_that_cannot_be_made_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError), only_agent(tmp_path / "file" / "state"):
        pytest.fail("it has a lock where there is no directory")
