"""The device's configuration: what is right is read, what is wrong is told at once, and agent.toml shows every key."""

import dataclasses
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent import schema
from edge_agent.config import agent, pipeline, sinks, sources, update
from edge_agent.config.agent import Config, default_device_id, parse_config, read_config
from edge_agent.config.pipeline import ONLY_STAGE, StageConfig
from edge_agent.config.row_sources import CsvSource
from edge_agent.config.sinks import JsonlSink, MqttSink, SinkConfig
from edge_agent.config.sources import FolderSource, MotionGate, SourceConfig, VideoSource
from edge_agent.errors import ConfigError

_SHOWN_OTHERWISE = {"for_s", "path", "content"}  # in agent.toml an example says more than the default would
AGENT_TOML = Path(__file__).parent.parent / "systemd" / "agent.toml"
BIRDS = {"model": "bird-finder", "source": {"kind": "folder", "path": "pictures"}}


SOURCE = "[pipeline.b]\nmodel = 'm'\nsource = {{{}}}\n"
STAGES = "[pipeline.b]\nsource = {kind='folder', path='p'}\n"
PLAIN = STAGES + "model = 'm'\n"


def two(sink: str, other: str | None = None) -> str:
    """Two pipelines, each with a sink."""
    return PLAIN + f"sinks = [{sink}]\n" + PLAIN.replace(".b]", ".c]") + f"sinks = [{other or sink}]\n"


def sources_of(source: str, other: str | None = None) -> str:
    """Two pipelines, each with a source."""
    return "".join(
        SOURCE.format(text).replace(".b]", f".{name}]") for name, text in (("b", source), ("c", other or source))
    )


def parse(toml: str) -> Config:
    return parse_config(tomllib.loads(toml))


def problems(toml: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(toml)
    assert caught.value.hint
    return str(caught.value)


# --- what is right -----------------------------------------------------------------------------------------------


def test_the_short_form_is_a_pipeline_of_one_stage() -> None:
    config = parse_config({"pipeline": {"birds": BIRDS}})
    birds = config.pipeline["birds"]
    assert birds.stage == {ONLY_STAGE: StageConfig("bird-finder")}
    assert birds.source == FolderSource("folder", Path("pictures"))
    assert (birds.sinks, birds.threads) == ((), 1)


def test_each_kind_of_source_and_sink_is_told_by_its_kind() -> None:
    config = parse("""
        [mqtt]
        url = "mqtt://broker"
        [trust]
        root = "root.json"
        [pipeline.a]
        model = "m"
        source = { kind = "video", path = "v.mp4", every_n = 2, max_fps = 5 }
        sinks = [{ kind = "mqtt", when = "always" }, { kind = "jsonl", path = "-" }]
        [pipeline.b]
        model = "m"
        source = { kind = "csv", path = "m.csv", columns = ["x", "y"], rate_hz = 52 }
    """)
    assert config.pipeline["a"].source == VideoSource("video", Path("v.mp4"), every_n=2, max_fps=5.0)
    assert config.pipeline["a"].sinks == (MqttSink("mqtt", "always"), JsonlSink("jsonl", Path("-")))
    assert config.pipeline["b"].source == CsvSource("csv", Path("m.csv"), columns=("x", "y"), rate_hz=52.0)


def test_paths_are_relative_to_the_file_and_a_dash_is_not_a_path(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text("""
        [mqtt]
        url = "mqtts://broker:8883"
        username = "porch"
        password_file = "/run/secret"
        [trust]
        root = "root.json"
        [pipeline.birds]
        model = "m"
        initial = "releases/m-1.edge"
        source = { kind = "folder", path = "~/pictures" }
        sinks = [{ kind = "jsonl", path = "-" }, { kind = "jsonl", path = "birds.jsonl" }]
    """)
    config = read_config(tmp_path / "agent.toml")
    assert config.trust is not None
    assert config.trust.root == tmp_path / "root.json"
    assert config.mqtt is not None
    assert config.mqtt.password_file == Path("/run/secret")
    birds = config.pipeline["birds"]
    assert birds.stage[ONLY_STAGE].initial == tmp_path / "releases/m-1.edge"
    assert isinstance(birds.source, FolderSource)
    assert birds.source.path == Path.home() / "pictures"
    assert [sink.path for sink in birds.sinks if isinstance(sink, JsonlSink)] == [Path("-"), tmp_path / "birds.jsonl"]


def test_the_default_device_id_is_one_that_topics_allow() -> None:
    assert re.fullmatch(r"[a-z0-9_-]{1,64}", default_device_id())
    assert parse_config({"pipeline": {"birds": BIRDS}}).device_id == default_device_id()
    assert parse_config({"device": {"id": "porch"}, "pipeline": {"birds": BIRDS}}).device_id == "porch"


def test_stages_come_behind_those_whose_crops_they_see() -> None:
    config = parse(
        STAGES
        + """
        [pipeline.b.stage.name]
        model = "m"
        crops_of = "find"
        [pipeline.b.stage.other]
        model = "m"
        [pipeline.b.stage.find]
        model = "m"
        """
    )
    assert config.pipeline["b"].order == ("other", "find", "name")


def test_what_a_source_is_follows_from_its_kind() -> None:
    def source(text: str) -> SourceConfig:
        return parse(SOURCE.format(text)).pipeline["b"].source

    camera, folder, csv = source("kind='camera'"), source("kind='folder', path='p'"), source("kind='csv', path='p'")
    wav, still = source("kind='wav', path='w'"), source("kind='still', url='http://x', interval_s=5, max_fps=1")
    assert [sources.given_by(each) for each in (camera, csv, wav)] == ["pictures", "rows", "audio"]
    assert [sources.is_live(each) for each in (camera, folder, csv, wav)] == [True, False, False, False]
    assert sources.is_live(source("kind='folder', path='p', max_fps=5"))
    assert [sources.repeats(each) for each in (camera, folder, csv)] == [True, False, False]
    assert [sources.pace_hz(each) for each in (camera, folder, still)] == [None, None, 0.2]
    assert sources.paths_of(camera) == (Path("/dev/video0"),)
    assert sources.columns_of(source("kind='csv', path='p', columns=['x']")) == ("x",)


# --- what is wrong -----------------------------------------------------------------------------------------------


def test_every_problem_is_told_at_once() -> None:
    told = problems("""
        [device]
        id = "Porch Pi"
        [telemetry]
        interval_s = "often"
        [pipeline.birds]
        model = "m"
        source = { kind = "folder" }
        threads = 0
    """)
    for expected in ("Porch Pi", "telemetry.interval_s: expected a number, found 'often'", "source.path: is missing"):
        assert expected in told
    assert "problems:" in told


def test_each_kind_of_problem_is_told_on_the_first_run_with_its_place() -> None:
    told = problems("""
        [mqtt]
        url = "mqtt://broker"
        cert_file = "device.pem"
        [telemetry]
        interval_s = -1
        outbox_record = 5
        [pipeline.camera]
        model = "m"
        threads = 0
        source = { kind = "camera", max_fps = 0, width_px = "wide", motion = { threshold = 3, difference = true } }
        sinks = [{ kind = "preview", port = 8090 }, { kind = "jsonl" }, { kind = "mqtt" }, { kind = "mqtt" }]
        [pipeline.camera.stage.name]
        model = "Namer"
        [pipeline.motion]
        source = { kind = "csv", path = "m.csv", max_gap_s = 0 }
        sinks = [{ kind = "preview", port = 8090 }, { kind = "jsonl", path = "x", keep = -1 }]
        triggers = [{ name = "t", when = { stage = "fnid" }, topic = "t" }, { name = "u", when = {} }]
        [pipeline.motion.stage.find]
        model = "finder"
        [pipeline.motion.stage.name]
        model = "namer"
        crops_of = "fidn"
    """)
    assert told.splitlines()[0] == "config: 19 problems:"
    assert sorted(line.strip() for line in told.splitlines()[1:]) == sorted(
        [
            "[mqtt] needs [trust] root = ...: releases are only taken from those whose keys it names",
            "mqtt: cert_file and key_file go together",
            (
                "pipeline.camera.model: stands in each table [pipeline.camera.stage.STAGE] where there are such "
                "tables, not beside them"
            ),
            "pipeline.camera.sinks[1].path: is missing",
            "pipeline.camera.source.max_fps: must be more than 0, found 0",
            "pipeline.camera.source.motion.difference: expected a whole number, found true",
            "pipeline.camera.source.motion.threshold: must be 0 to 1, found 3.0",
            "pipeline.camera.source.width_px: expected a whole number, found 'wide': no quotes, no unit",
            (
                "pipeline.camera.stage.name.model: must be 1 to 64 of a-z, 0-9, _ and - (it is part of MQTT topics), "
                "found 'Namer'"
            ),
            "pipeline.camera.threads: must be 1 to 64, or 'auto', found 0",
            "pipeline.camera: one mqtt sink is enough, found 2",
            "pipeline.motion.sinks[1].keep: must be 0 to 1,000,000,000,000, found -1",
            "pipeline.motion.source.max_gap_s: must be more than 0, found 0",
            "pipeline.motion: stage name: crops_of names 'fidn', which is no other stage here",
            "pipeline.motion: trigger t: when.stage names 'fnid', no stage here; there is find, name",
            "pipeline.motion.triggers[1]: trigger u does nothing: give it topic, gpio, command or snapshot",
            "telemetry.interval_s: must be more than 0, found -1",
            "telemetry.outbox_record: unknown key; did you mean 'outbox_records'?",
            "the previews of [pipeline.camera] and [pipeline.motion] have one port, 8090: give each a port of its own",
        ]
    )


@pytest.mark.parametrize(
    "wrong",
    [
        "[pipeline.b.stage.x]\nmodel='M'\ncrops_of='y'\n[pipeline.b.stage.y]\nmodel='m'\ncrops_of='x'\n",
        "stage = 3\ntriggers = [{name='t', when={stage='x'}, command=['c']}]\n",
        "model = 'm'\nsinks = [{kind='preview', port=0}, {kind='preview', port=8090}]\n",
    ],
)
def test_what_may_follow_from_a_problem_is_not_told_beside_it(wrong: str) -> None:
    assert "1 problem:" in problems(STAGES + wrong)


def test_no_pipeline_is_told_beside_the_rest() -> None:
    told = problems("[telemetry]\ninterval_s = 0\n")
    assert "no [pipeline.NAME]" in told
    assert "interval_s" in told


def test_what_code_makes_is_held_to_the_same_limits() -> None:
    with pytest.raises(ValueError, match=r"threshold: must be 0 to 1, found 2\ndifference: must be 1 to 255 gray"):
        MotionGate(threshold=2, difference=0)
    with pytest.raises(ValueError, match=r"pipeline\.B: must be 1 to 64"):
        Config({"B": parse(PLAIN).pipeline["b"]})


@pytest.mark.parametrize(
    ("toml", "expected"),
    [
        ("[devise]\nid = 'a'\n", "devise: unknown key; did you mean 'device'?"),
        ("[mqtt]\nurl = 'mqtt://b'\nusr = 'x'\n[trust]\nroot = 'r'\n", "mqtt.usr: unknown key"),
        ("[pipeline.b]\nmodell = 'm'\nsource = {kind='folder', path='p'}\n", "did you mean 'model'?"),
        ("[pipeline.b]\nmodel = 'm'\nsource = {kind='folder', path='p', max_fsp=3}\n", "did you mean 'max_fps'?"),
        ("[pipeline.b]\nmodel = 'm'\nsource = {kind='foldr', path='p'}\n", "did you mean 'folder'?"),
    ],
)
def test_an_unknown_key_names_the_nearest_known_one(toml: str, expected: str) -> None:
    assert expected in problems(toml + ("" if "pipeline" in toml else "[pipeline.a]\nmodel='m'\n"))


@pytest.mark.parametrize(
    ("toml", "expected"),
    [
        ("", "no [pipeline.NAME]"),
        ("[mqtt]\nurl = 'http://b'\n", "mqtt://HOST"),
        ("[mqtt]\nurl = 'mqtt://me:secret@b'\n", "the user under username"),
        ("[mqtt]\nurl = 'mqtt://b'\ncert_file = 'c'\n", "cert_file and key_file go together"),
        ("[mqtt]\nurl = 'mqtt://b'\npassword_file = 'p'\n", "password_file needs a username"),
        ("[mqtt]\nurl = 'mqtt://b'\nprefix = 'a/#'\n", "prefix"),
        (
            "[mqtt]\nurl = 'mqtt://b'\n[pipeline.b]\nmodel='m'\nsource={kind='folder',path='p'}\n",
            "[mqtt] needs [trust]",
        ),
        ("[pipeline.b]\nsource = {kind='folder', path='p'}\n", "has no model"),
        (
            "[pipeline.b]\nmodel = 'm'\nsource = {kind='folder', path='p', max_fps=0}\n",
            "pipeline.b.source.max_fps: must be more than 0, found 0",
        ),
        (
            "[pipeline.b]\nmodel = 'm'\nsource = {kind='video', path='p', every_n=0}\n",
            "pipeline.b.source.every_n: must be 1 to",
        ),
        (
            "[pipeline.b]\nmodel = 'm'\nsource = {kind='csv', path='p', rate_hz=-1}\n",
            "pipeline.b.source.rate_hz: must be more than 0, found -1",
        ),
        (
            "[pipeline.b]\nmodel = 'M 1'\nsource = {kind='folder', path='p'}\n",
            "pipeline.b.model: must be 1 to 64 of a-z, 0-9, _ and - (it is part of MQTT topics), found 'M 1'",
        ),
        (
            "[pipeline.'b c']\nmodel = 'm'\nsource = {kind='folder', path='p'}\n",
            'pipeline."b c": must be 1 to 64 of a-z, 0-9, _ and -',
        ),
        (SOURCE.format("kind='camera', roi=[0.5, 0, 0.2, 1]"), "source.roi: must be [left, top, right, bottom]"),
        (SOURCE.format("kind='camera', rotate_deg=45"), "expected one of 0, 90, 180, 270"),
        (SOURCE.format("kind='camera', motion={threshold=2}"), "source.motion.threshold: must be 0 to 1, found 2"),
        (SOURCE.format("kind='stream', url='rtsp://me:secret@cam/1'"), "no user or password"),
        (SOURCE.format("kind='stream', url='file:///etc/passwd'"), "must begin with rtsp://"),
        (SOURCE.format("kind='stream', url='rtps://me:secret@cam/1'"), "udp://, found a URL with a user in it"),
        (SOURCE.format("kind='folder', path='p', watch=true, repeat=true"), "watch and repeat exclude each other"),
        (SOURCE.format("kind='i2c', driver='m:f', address=300"), "0x03 to 0x77"),
        (SOURCE.format("kind='csv', path='p', max_gap_s=0"), "source.max_gap_s: must be more than 0, found 0"),
        (SOURCE.format("kind='csv', path='p', missing='guess'"), "expected one of skip, hold, zero"),
        (PLAIN + "threads = 'many'\n", "expected a whole number or 'auto', found 'many'"),
        (PLAIN + "threads = 65\n", "pipeline.b.threads: must be 1 to 64, or 'auto', found 65"),
        (PLAIN + "sinks = [{kind='preview', port=0}]\n", "pipeline.b.sinks[0].port: must be 1 to 65,535, found 0"),
        (PLAIN + "sinks = [{kind='preview', port=1}, {kind='preview', port=2}]\n", "one preview is enough"),
        (PLAIN + "sinks = [{kind='webhook', url='ftp://x'}]\n", "must begin with http://"),
        (PLAIN + "sinks = [{kind='webhook', url='http://'}]\n", "must name a host"),
        (PLAIN + "sinks = [{kind='webhook', url='http://x:99999/'}]\n", "must name a host"),
        (PLAIN + "sinks = [{kind='webhook', url='http://x/a b'}]\n", "printable ASCII"),
        (PLAIN + "sinks = [{kind='webhook', url='http://me:secret@x/'}]\n", "must not hold a user"),
        (PLAIN + "triggers = [{name='t', when={above=2, below=1}, topic='t'}]\n", "above must be less than below"),
        (
            PLAIN + "triggers = [{name='t', when={roi=[9, 0, 1, 9]}, topic='t'}]\n",
            "triggers[0].when.roi: must be left, top, right, bottom",
        ),
        (PLAIN + "triggers = [{name='t', when={}}]\n", "trigger t does nothing"),
        (PLAIN + "triggers = [{name='t', when={stage='x'}, topic='t'}]\n", "when.stage names 'x', no stage here"),
        (
            PLAIN + "sinks = [{kind='samples', folder='s', when={stage='x'}}]\n",
            "samples: when.stage names 'x', no stage here; there is main",
        ),
        (
            PLAIN + "sinks = [{kind='samples', folder='s', stage='x'}]\n",
            "samples: stage names 'x', no stage here; there is main",
        ),
        (
            STAGES
            + "[[pipeline.b.sinks]]\nkind='samples'\nfolder='s'\nstage='name'\n"
            + "[pipeline.b.stage.find]\nmodel='f'\n[pipeline.b.stage.name]\nmodel='n'\ncrops_of='find'\n",
            "samples: stage 'name' sees crops; samples are of stages that see whole frames",
        ),
        (PLAIN + "sinks = [{kind='samples', folder='s', max_bytes_per_s=10}]\n", "max_bytes_per_s: must be 6,000 to"),
        (PLAIN + "triggers = [{name='t', when={}, topic='t'}, {name='t', when={}, topic='t'}]\n", "several triggers"),
        (STAGES + "[pipeline.b.stage.x]\nmodel='m'\ncrops_of='x'\n", "crops_of names 'x', which is no other stage"),
        (
            STAGES + "[pipeline.b.stage.x]\nmodel='m'\ncrops_of='y'\n[pipeline.b.stage.y]\nmodel='m'\ncrops_of='x'\n",
            "stages x, y see each other's crops in a circle",
        ),
        (
            (
                "[pipeline.b]\nsource={kind='csv',path='p'}\n[pipeline.b.stage.x]\nmodel='m'\n"
                "[pipeline.b.stage.y]\nmodel='m'\ncrops_of='x'\n"
            ),
            "crops_of needs pictures",
        ),
        (
            "[pipeline.b]\nmodel='m'\nsource={kind='csv',path='p'}\nsinks=[{kind='preview',port=1}]\n",
            "previews and snapshots need pictures",
        ),
        (SOURCE.format("kind='synthetic', content='rows', max_fps=5.0"), "max_fps has no use for content rows"),
        (SOURCE.format("kind='synthetic', content='audio', rate_hz=5.0"), "rate_hz has no use for content audio"),
        (
            SOURCE.format("kind='plugin', name='p', gives='rows', roi=[0,0,1,1], every_n=2"),
            "every_n, roi has no use for a plugin that gives rows: leave it out",
        ),
        (
            SOURCE.format("kind='plugin', name='p', gives='pictures', columns=['a']"),
            "columns has no use for a plugin that gives pictures",
        ),
        (SOURCE.format("kind='camera', device='csi', format='yuyv'"), "format has no use for device csi"),
        (SOURCE.format("kind='stream', url='http://c/', transport='udp'"), "transport has no use for a stream that is"),
        (PLAIN + "channel = 'bench'\n", "channel 'bench' is for releases that are only measured: follow another one"),
        (PLAIN + "crops = {at_most=2}\n", "crops has no use without crops_of: name the stage"),
        (
            PLAIN + "initial = 'm.tflite'\n",
            "pipeline.b.initial: must be an .edge file, found 'm.tflite': make one with `edgectl convert`",
        ),
        (SOURCE.format("kind='stdin'"), "[pipeline.b] is standard input, which only `edge-agent infer` has"),
        (SOURCE.format("kind='stdin', path='-'"), "give the path of a named pipe"),
        (PLAIN + "sinks = [{kind='mqtt'}]\n", "a sink of [pipeline.b] is of kind mqtt: it needs [mqtt]"),
        (
            PLAIN + "sinks = [{kind='samples', folder='s', publish=true}]\n",
            "samples of [pipeline.b] have publish = true: it needs [mqtt]",
        ),
        (PLAIN + "triggers = [{name='t', when={}, topic='t'}]\n", "trigger t of [pipeline.b] has a topic: it needs"),
        (two("{kind='preview', port=8090}"), "[pipeline.b] and [pipeline.c] have one port, 8090"),
        (two("{kind='jsonl', path='x'}"), "several sinks of [pipeline.b] and [pipeline.c] write 'x'"),
        (two("{kind='jsonl', path='x'}", "{kind='sqlite', path='./x'}"), "give each a path of its own"),
        (PLAIN + "sinks = [{kind='jsonl', path='x'}, {kind='jsonl', path='x'}]\n", "sinks of [pipeline.b] write 'x'"),
        (PLAIN + "sinks = [{kind='sqlite', path='x'}, {kind='sqlite', path='x'}]\n", "sinks of [pipeline.b] write 'x'"),
    ],
)
def test_what_cannot_be_is_told_by_what_was_expected(toml: str, expected: str) -> None:
    assert expected in problems(toml)


GPIO = "[[pipeline.{pipeline}.triggers]]\nname = '{name}'\nwhen = {{}}\ngpio = {{line=17{more}}}\n"
ONLY = "which only one can have: give each a line of its own"


@pytest.mark.parametrize(
    ("toml", "expected"),
    [
        (
            PLAIN + GPIO.format(pipeline="b", name="t", more="") + GPIO.format(pipeline="b", name="u", more=""),
            f"the triggers t of [pipeline.b] and u of [pipeline.b] switch one GPIO line, 17 of /dev/gpiochip0, {ONLY}",
        ),
        (
            two("{kind='jsonl', path='-'}")
            + GPIO.format(pipeline="b", name="t", more="")
            + GPIO.format(pipeline="c", name="t", more=", chip='/dev//gpiochip0', on_s=2.0"),
            f"the triggers t of [pipeline.b] and t of [pipeline.c] switch one GPIO line, 17 of /dev/gpiochip0, {ONLY}",
        ),
        (sources_of("kind='camera'"), "[pipeline.b] and [pipeline.c] are one camera, '/dev/video0', which only one"),
        (sources_of("kind='camera', device='csi'", "kind='camera', device='csi:0'"), "are one camera, 'csi', which"),
        (sources_of("kind='serial', device='/dev/ttyUSB0'"), "are one serial port, '/dev/ttyUSB0', which only one"),
        (sources_of("kind='microphone', device='plughw:1'"), "are one microphone, 'plughw:1', which only one"),
        (
            sources_of("kind='folder', path='p'")
            + "[[pipeline.b.triggers]]\nname='t'\nwhen={}\nsnapshot='s'\n"
            + "[[pipeline.c.triggers]]\nname='t'\nwhen={}\nsnapshot='./s'\n",
            "the triggers t of [pipeline.b] and [pipeline.c] keep pictures in 's': give each a folder or a name",
        ),
        (PLAIN + "sinks = [{kind='mqtt'}, {kind='mqtt', when='always'}]\n", "one mqtt sink is enough, found 2"),
        (
            PLAIN + "sinks = [{kind='samples', folder='s'}, {kind='samples', folder='t'}]\n",
            "one samples sink is enough, found 2",
        ),
        (
            two("{kind='samples', folder='s'}", "{kind='samples', folder='./s'}"),
            "the samples of [pipeline.b] and [pipeline.c] have one folder, 's': give each a folder of its own",
        ),
        (
            PLAIN + "sinks = [{kind='webhook', url='http://x/'}, {kind='webhook', url='http://x/', when='always'}]\n",
            "several webhooks have one url, so each result would arrive twice: leave all but one out",
        ),
    ],
)
def test_what_only_one_can_have_is_given_to_one(toml: str, expected: str) -> None:
    assert expected in problems(toml)


def test_a_trigger_beside_something_wrong_still_has_its_line_to_itself() -> None:
    triggers = GPIO.format(pipeline="b", name="t", more="") + GPIO.format(pipeline="b", name="u", more="")
    told = problems(PLAIN + "threads = 0\n" + triggers)
    assert "2 problems:" in told
    assert ONLY in told


def test_other_lines_chips_and_devices_are_no_problem() -> None:
    config = parse(
        sources_of("kind='camera'", "kind='camera', device='/dev/video2'")
        + GPIO.format(pipeline="b", name="t", more="")
        + GPIO.format(pipeline="b", name="u", more=", chip='/dev/gpiochip4'")
        + GPIO.format(pipeline="c", name="t", more="").replace("17", "18")
    )
    assert len(config.pipeline["b"].triggers) == 2
    assert len(parse(sources_of("kind='microphone'")).pipeline) == 2
    webhook = "{kind='webhook', url='http://x/'}"
    assert len(parse(two(webhook)).pipeline) == 2


def test_what_pipelines_may_share_is_let_through() -> None:
    for sink in ("{kind='sqlite', path='x'}", "{kind='jsonl', path='-'}"):
        assert len(parse(two(sink)).pipeline) == 2


def test_all_that_is_wrong_between_pipelines_is_told_at_once() -> None:
    told = problems(two("{kind='preview', port=8090}, {kind='jsonl', path='x'}, {kind='mqtt'}"))
    assert "4 problems:" in told
    for expected in ("one port, 8090", "write 'x'", "[pipeline.b] is of kind mqtt", "[pipeline.c] is of kind mqtt"):
        assert expected in told


def test_two_spellings_of_one_file_are_one_file(tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    path.write_text(two("{kind='jsonl', path='x'}", f"{{kind='jsonl', path='{tmp_path / 'x'}'}}"))
    with pytest.raises(ConfigError, match="give each a path of its own"):
        read_config(path)


@pytest.mark.parametrize("content", [None, b"[device\n", b"\xff\xfe"], ids=["missing", "not TOML", "not text"])
def test_a_file_that_cannot_be_read_is_an_error_of_ours(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "agent.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"agent\.toml"):
        read_config(path)


TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["device", "id", "mqtt", "url", "pipeline", "a", "model", "source", "kind"]), inner
        )
    ),
    max_leaves=12,
)


@given(tree=st.dictionaries(st.sampled_from(["device", "mqtt", "trust", "pipeline", "telemetry", "x"]), TREES))
def test_no_tree_breaks_out_of_config_error(tree: dict[str, Any]) -> None:
    try:
        parse_config(tree)
    except ConfigError:
        return


# --- systemd/agent.toml ------------------------------------------------------------------------------------------


def test_the_agent_toml_that_is_shipped_is_right_as_it_is() -> None:
    config = read_config(AGENT_TOML)
    assert list(config.pipeline) == ["birds"]


def test_the_agent_toml_that_is_shipped_shows_every_key_there_is() -> None:
    shown = {key for table in _tables(tomllib.loads(_with_comments_as_keys())) for key in table}
    missing = [
        f"{kind.__name__}.{field.name}"
        for kind in _tables_of_the_configuration()
        for field in dataclasses.fields(kind)
        if schema.key_of(field) not in shown
    ]
    assert missing == []


def test_every_key_that_is_shown_as_a_comment_is_right_too() -> None:
    config = parse_config(tomllib.loads(_with_comments_as_keys()))
    kinds = {table.source.kind for table in config.pipeline.values()}
    assert kinds == {get_args(get_type_hints(kind)["kind"])[0] for kind in get_args(SourceConfig)}
    shown = {sink.kind for table in config.pipeline.values() for sink in table.sinks}
    assert shown == {get_args(get_type_hints(kind)["kind"])[0] for kind in get_args(SinkConfig)}


def test_every_default_that_is_shown_is_the_default() -> None:
    config = parse_config(tomllib.loads(_with_comments_as_keys()))
    values: list[Any] = [config.device, config.mqtt, config.storage, config.telemetry, config.update]
    for table in config.pipeline.values():
        values += [table, table.source, *table.stage.values(), *table.sinks, *table.triggers]
        values += [getattr(table.source, "motion", None) or MotionGate(), *(each.when for each in table.triggers)]
        values += [table.samples.when] if table.samples and table.samples.when else []
        values += [each.gpio for each in table.triggers if each.gpio]
        values += [each.delegate for each in table.stage.values() if each.delegate]
    wrong = [
        f"{type(value).__name__}.{field.name}: {getattr(value, field.name)!r}, default {field.default!r}"
        for value in values
        for field in dataclasses.fields(value)
        if field.default not in (dataclasses.MISSING, None, "", ())  # an example, where there is no default
        and field.name not in _SHOWN_OTHERWISE
        and getattr(value, field.name) != field.default
    ]
    assert wrong == []


def _with_comments_as_keys() -> str:
    """agent.toml with its commented keys and tables switched on ("#key", while "# text" is talk)."""
    return re.sub(r"^#(?=[a-z\[])", "", AGENT_TOML.read_text(encoding="utf-8"), flags=re.MULTILINE)


def _tables(tree: Any) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        yield tree
    for item in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from _tables(item)


def _tables_of_the_configuration() -> Iterator[type]:
    for module in (agent, pipeline, sinks, sources, update):
        for name, kind in vars(module).items():
            if isinstance(kind, type) and dataclasses.is_dataclass(kind) and kind.__module__ == module.__name__:
                assert get_type_hints(kind), name
                assert not get_args(kind)
                yield kind
