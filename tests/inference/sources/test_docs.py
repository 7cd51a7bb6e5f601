"""What docs/sources.md says of rows and sound is so."""

import re
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import get_args, get_type_hints

from edge_agent.config.agent import parse_config
from edge_agent.config.row_sources import RowOptions, RowSource
from edge_agent.config.sources import MicrophoneSource, MotionGate, PictureOptions, SourceConfig, WavSource
from tests.key_tables import documented, keys_of

TEXT = (Path(__file__).parents[3] / "docs" / "sources.md").read_text(encoding="utf-8")
BROKER = {"mqtt": {"url": "mqtt://broker"}, "trust": {"root": "root.json"}}
KINDS = {get_args(get_type_hints(kind)["kind"])[0]: kind for kind in get_args(SourceConfig)}
ROWS = TEXT[TEXT.index("## Rows") :].split("\n## ", 2)[0]


def test_the_table_of_keys_is_that_of_the_code() -> None:
    common = {
        "every source of pictures": keys_of(PictureOptions),
        "motion of them": keys_of(MotionGate),
        "every source of rows": keys_of(RowOptions),
    }
    bases = {kind: base for base in (PictureOptions, RowOptions) for kind in KINDS.values() if issubclass(kind, base)}
    kinds = {name: keys_of(kind, without=bases.get(kind)) for name, kind in KINDS.items()}
    assert documented(TEXT) == common | kinds


def test_every_kind_and_every_option_of_rows_is_told() -> None:
    kinds = [get_args(get_type_hints(member)["kind"])[0] for member in get_args(RowSource)]
    options = [field.name for field in fields(RowOptions)]
    assert [name for name in (*kinds, *options) if f"`{name}`" not in ROWS] == []
    assert [kind for kind in kinds if f"### `{kind}`" not in ROWS] == []


def test_every_source_that_is_shown_is_one() -> None:
    shown = re.findall(r"^`(source = \{.*\})`$", ROWS, re.MULTILINE)
    assert len(shown) == len(get_args(RowSource))
    for line in shown:
        pipeline = {"model": "m", **tomllib.loads(line)}
        parse_config({"pipeline": {"a": pipeline}, **BROKER})


def test_every_key_of_sound_is_told_and_what_is_shown_is_a_source() -> None:
    sound = TEXT[TEXT.index("## Sound") :].split("\n## ", 2)[0]
    lines = re.findall(r"^`(source = \{.*\})`$", sound, re.MULTILINE)
    for kind, line in zip((MicrophoneSource, WavSource), lines, strict=True):
        shown = tomllib.loads(line)
        assert sorted(shown["source"]) == sorted(field.name for field in fields(kind))
        config = parse_config({"pipeline": {"a": {"model": "m", **shown}}, **BROKER})
        assert isinstance(config.pipeline["a"].source, kind)
