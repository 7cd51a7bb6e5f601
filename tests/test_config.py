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

from edge_agent import config as configuration
from edge_agent.config.agent import Config, default_device_id, parse_config, read_config
from edge_agent.config.pipeline import ONLY_STAGE, StageConfig
from edge_agent.config.sinks import JsonlSink, MqttSink
from edge_agent.config.sources import CsvSource, FolderSource, VideoSource
from edge_agent.errors import ConfigError

AGENT_TOML = Path(__file__).parent.parent / "systemd" / "agent.toml"
BIRDS = {"model": "bird-finder", "source": {"kind": "folder", "path": "pictures"}}


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
    pipeline = config.pipeline["birds"]
    assert pipeline.stage == {ONLY_STAGE: StageConfig("bird-finder")}
    assert pipeline.source == FolderSource("folder", Path("pictures"))
    assert (pipeline.sinks, pipeline.threads) == ((), 1)


def test_each_kind_of_source_and_sink_is_told_by_its_kind() -> None:
    config = parse("""
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
        ("[pipeline.b]\nmodel = 'm'\nsource = {kind='folder', path='p', max_fps=0}\n", "max_fps must be more than 0"),
        ("[pipeline.b]\nmodel = 'm'\nsource = {kind='video', path='p', every_n=0}\n", "every_n must be at least 1"),
        ("[pipeline.b]\nmodel = 'm'\nsource = {kind='csv', path='p', rate_hz=-1}\n", "rate_hz must be more than 0"),
        ("[pipeline.b]\nmodel = 'M 1'\nsource = {kind='folder', path='p'}\n", "model 'M 1' must be"),
        ("[pipeline.'b c']\nmodel = 'm'\nsource = {kind='folder', path='p'}\n", "pipeline 'b c' must be"),
    ],
)
def test_what_cannot_be_is_told_by_what_was_expected(toml: str, expected: str) -> None:
    assert expected in problems(toml)


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
        if field.name not in shown
    ]
    assert missing == []


def test_every_key_that_is_shown_as_a_comment_is_right_too() -> None:
    text = _with_comments_as_keys().replace('crops_of = "find"', "")  # of a second stage, which may not be there yet
    config = parse_config(tomllib.loads(text))
    assert sorted(config.pipeline) == ["birds", "film", "motion"]


def test_every_default_that_is_shown_is_the_default() -> None:
    config = parse_config(tomllib.loads(_with_comments_as_keys().replace('crops_of = "find"', "")))
    values: list[Any] = [config.device, config.mqtt, config.storage, config.telemetry]
    for pipeline in config.pipeline.values():
        values += [pipeline, pipeline.source, *pipeline.stage.values(), *pipeline.sinks]
    wrong = [
        f"{type(value).__name__}.{field.name}: {getattr(value, field.name)!r}, default {field.default!r}"
        for value in values
        for field in dataclasses.fields(value)
        if field.default not in (dataclasses.MISSING, None, "", ())  # an example, where there is no default
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
    for name, kind in vars(configuration).items():
        if isinstance(kind, type) and dataclasses.is_dataclass(kind) and kind.__module__ == configuration.__name__:
            assert get_type_hints(kind), name
            assert not get_args(kind)
            yield kind
