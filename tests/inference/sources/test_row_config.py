"""What the tables of row sources refuse, and in which words."""

from pathlib import Path
from typing import Any

import pytest

from edge_agent.config.agent import parse_config
from edge_agent.config.row_sources import TopicSource
from edge_agent.errors import ConfigError


def problem(source: dict[str, Any], **more: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_config({"pipeline": {"office": {"model": "climate", "source": source}}, **more})
    return str(caught.value)


@pytest.mark.parametrize("topic", ["a", "zigbee2mqtt/office", "+", "#", "a/+/b", "a/#", "/", "$SYS/broker/uptime"])
def test_topics_and_filters_are_as_in_mqtt(topic: str) -> None:
    assert TopicSource("topic", topic).topic == topic


@pytest.mark.parametrize(
    ("topic", "message"),
    [
        ("", "must be a topic of 1 to 65,535 bytes"),
        ("a\0", "without a NUL"),
        ("x" * 65_536, "must be a topic of 1 to 65,535 bytes"),
        ("a/#/b", "# stands for all levels below"),
        ("a#", "must be the whole last level"),
        ("a/b+", r"\+ stands for one level"),
    ],
)
def test_a_wrong_filter_is_refused_in_plain_words(topic: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TopicSource("topic", topic)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"url": "http://broker"}, "must be mqtt://HOST"),
        ({"url": "mqtt://user@broker"}, "the user under username"),
        ({"url": "mqtt://broker/path"}, "must be mqtt://HOST"),
        ({"username": "edge"}, "give its url"),
        ({"password_file": Path("secret")}, "needs a username"),
        ({"timeout_s": 0.0}, "timeout_s: must be more than 0"),
        ({"max_gap_s": -1.0}, "max_gap_s: must be more than 0"),
    ],
)
def test_a_wrong_broker_or_time_is_refused(more: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TopicSource("topic", "room", **more)


def test_a_topic_needs_a_broker_to_be_heard_from() -> None:
    source = {"kind": "topic", "topic": "zigbee2mqtt/office"}
    assert "the source of [pipeline.office] is a topic: it needs [mqtt]" in problem(source)
    parse_config({"pipeline": {"office": {"model": "climate", "source": {**source, "url": "mqtt://other"}}}})
    parse_config(
        {
            "pipeline": {"office": {"model": "climate", "source": source}},
            "mqtt": {"url": "mqtt://broker"},
            "trust": {"root": "root.json"},
        }
    )


def test_a_misspelled_option_names_the_right_one() -> None:
    assert "did you mean 'time_column'?" in problem({"kind": "csv", "path": "a.csv", "time_colum": "t"})
    assert "expected one of skip, hold, zero, found 'keep'" in problem(
        {"kind": "iio", "device": "bme280", "missing": "keep"}
    )
    assert "source.address: must be 0x03 to 0x77" in problem({"kind": "i2c", "driver": "a:b", "address": 200})
