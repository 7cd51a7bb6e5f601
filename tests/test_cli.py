"""`edge-agent` as a person types it: what is printed where, and with which exit code."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_agent import cli, schema
from edge_agent.config.pipeline import StageConfig
from edge_agent.disk import open_disk
from edge_agent.errors import Reason
from edge_agent.service.reporting import stage_report
from edge_agent.update.eligibility import Held, HoldReason
from edge_agent.update.journal import Journal
from edge_agent.update.machine import Fetching, Outcome, Record
from edge_agent.update.status import Status
from edge_agent.update.store import ReleaseStore
from tests.sim.releases import make_release

RELEASE = make_release("1.0")
TOML = """
[device]
id = "porch-pi"
[storage]
state_dir = "state"
[pipeline.birds]
model = "birds"
source = { kind = "folder", path = "pictures" }
"""

Run = Callable[..., int]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command with `agent.toml` of the test's folder; returns the exit code."""
    (tmp_path / "agent.toml").write_text(TOML)
    (tmp_path / "pictures").mkdir()
    monkeypatch.setenv("EDGE_AGENT_CONFIG", str(tmp_path / "agent.toml"))

    def command(*words: str) -> int:
        monkeypatch.setattr("sys.argv", ["edge-agent", *words])
        try:
            cli.main()
        except SystemExit as ended:
            return int(ended.code or 0)
        return 0

    return command


def write_record(folder: Path, record: Record) -> None:
    Journal(open_disk(folder / "state"), "birds", "main").write(record)


def install(folder: Path) -> None:
    ReleaseStore(open_disk(folder / "state"), folder / "state").adopt_file(RELEASE.write(folder / "a.edge"))


def test_a_right_configuration_is_told_in_words(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check-config") == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        f"{tmp_path / 'agent.toml'}: device porch-pi, 1 pipeline",
        "  birds: folder → birds (channel stable)",
        "  no [mqtt]: only the `initial` artifacts run, and nothing is updated",
        "  birds: no `initial` either: nothing runs unless a release is installed already",
    ]
    assert err == ""


def test_every_path_that_is_missing_is_named_at_once(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mqtt = '[mqtt]\nurl = "mqtts://x"\nusername = "u"\npassword_file = "pw"\n[trust]\nroot = "root.json"\n'
    (tmp_path / "agent.toml").write_text(TOML.replace('"pictures"', '"films"') + 'initial = "b.edge"\n' + mqtt)
    assert run("check-config") == 2
    error = capsys.readouterr().err
    for name in ("pipeline.birds.source", "pipeline.birds.initial", "mqtt.password_file", "trust.root"):
        assert f"{name}: {tmp_path}" in error
    assert error.startswith("error: 4 paths ")
    assert "\nhint: " in error


def test_an_unknown_key_is_told_with_the_nearest_one(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "agent.toml").write_text(TOML.replace("state_dir", "state_dri"))
    assert run("check-config") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "state_dri" in err
    assert "state_dir" in err.replace("state_dri", "")


@pytest.mark.parametrize("words", [("status",), ("check-config",), ("rollback", "birds"), ("run",)])
def test_without_its_configuration_a_command_was_asked_wrongly(
    run: Run, tmp_path: Path, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "agent.toml").unlink()
    assert run(*words) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("error: "), err.count("hint: ")) == ("", 1, 1)


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        (Record(), "birds: nothing installed"),
        (Record("c" * 64), f"birds {'c' * 12}"),  # its manifest cannot be read
        (Record(RELEASE.digest), "birds 1.0"),
        (Record(RELEASE.digest, None, Fetching("c" * 64)), f"birds 1.0; fetching {'c' * 12}"),
        (
            Record(RELEASE.digest, last=Outcome("d" * 64, "rejected", Reason.TOO_SLOW, "p95 90 ms")),
            f"birds 1.0; last: rejected {'d' * 12} (too_slow: p95 90 ms)",
        ),
        (Record(RELEASE.digest, last=Outcome(RELEASE.digest, "committed")), "birds 1.0; last: committed 1.0"),
    ],
)
def test_the_status_of_a_stage_in_words(
    run: Run, tmp_path: Path, record: Record, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    install(tmp_path)
    write_record(tmp_path, record)
    assert run("status") == 0
    assert capsys.readouterr().out.splitlines() == ["porch-pi: agent not running", f"  birds: {sentence}"]


def test_the_status_of_a_stopped_agent_says_where_it_cannot_know_what_is_held(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install(tmp_path)
    write_record(tmp_path, Record(RELEASE.digest))
    (tmp_path / "agent.toml").write_text(TOML + '[mqtt]\nurl = "mqtt://x"\n[trust]\nroot = "root.json"\n')
    assert run("status") == 0
    told = "whether it holds a newer release is not known (no believed document of birds/stable is on this disk)"
    assert capsys.readouterr().out.splitlines() == ["porch-pi: agent not running", f"  birds: birds 1.0; {told}"]


def test_the_status_says_what_is_not_taken_and_why(
    run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held("d" * 64, "2.0", HoldReason.HALTED, "the rollout is halted")
    report = schema.dump(stage_report(StageConfig("birds"), Status(Record(RELEASE.digest), held=held)))
    answer = {"running": True, "device": "porch-pi", "pipelines": {"birds": {"main": report}}}
    monkeypatch.setattr("edge_agent.service.local.read_status", lambda _: answer)

    assert run("status") == 0
    assert "does not take 2.0 (halted: the rollout is halted)" in capsys.readouterr().out


def test_the_status_for_a_script_is_one_json_object(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install(tmp_path)
    write_record(tmp_path, Record(RELEASE.digest))
    assert run("status", "--json") == 0
    tree = json.loads(capsys.readouterr().out)
    assert (tree["running"], tree["device"]) == (False, "porch-pi")
    assert tree["pipelines"]["birds"]["main"]["current"]["version"] == "1.0"


def test_a_roll_back_with_nothing_to_go_back_to_did_not_work(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_record(tmp_path, Record("a" * 64))
    assert run("rollback", "birds") == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err == ("error: there is no earlier release to roll back to\nhint: push the release you want instead\n")


def test_a_roll_back_says_what_serves_now(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    install(tmp_path)
    write_record(tmp_path, Record("b" * 64, RELEASE.digest))
    assert run("rollback", "birds") == 0
    assert capsys.readouterr().out == f"birds: birds 1.0; last: rolled_back {'b' * 12} (operator)\n"


@pytest.mark.parametrize("words", [("reboot",), ("status", "--yaml"), ("rollback",)])
def test_what_is_no_command_was_asked_wrongly(
    run: Run, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*words) == 2
    assert capsys.readouterr().out == ""


def test_a_second_agent_on_the_same_state_is_refused(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from edge_agent.service.local import only_agent

    with only_agent(tmp_path / "state"):
        assert run("run") == 1
    assert "another agent is running" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--roi", "0,0,1"), "expected left,top,right,bottom"),
        (("--roi", "a,b,c,d"), "expected left,top,right,bottom"),
        (("--threads", "0"), "expected 1 to 64, or auto"),
        (("--threads", "many"), "expected 1 to 64, or auto"),
        (("--delegate-option", "device=usb"), "for a --delegate"),
        (("--delegate", "lib.so", "--delegate-option", "usb"), "expected NAME=VALUE"),
        (("--task", "ocr"), "'ocr' is not one of"),
        (("--rotate", "45"), "is not one of"),
    ],
)
def test_what_infer_cannot_be_told_was_asked_wrongly(
    run: Run, words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("infer", "model.tflite", "cat.jpg", *words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in " ".join(err.split())


def test_a_region_outside_of_the_picture_and_a_missing_delegate_are_told(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(Path(__file__).parent / "inference/models/running_sum.tflite")
    for words in (("--roi", "0,0,2,1"), ("--delegate", "/nowhere/libnone.so")):
        assert run("infer", model, "row.csv", *words) == 1
        out, err = capsys.readouterr()
        assert (out, err.count("error: "), "Traceback" in err) == ("", 1, False)
