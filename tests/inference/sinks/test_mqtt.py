"""Results as messages: which of them go out, and when."""

import json
from typing import Any, Literal

import pytest

from edge_agent.config.sinks import MqttSink as MqttConfig
from edge_agent.inference.sinks.gate import gist
from edge_agent.inference.sinks.mqtt import MqttSink
from edge_agent.inference.sinks.tree import ResultFormat
from tests.sim.clock import FakeClock
from tests.sim.results import answer, found, result, staged


class Broker:
    def __init__(self, when: Literal["changed", "always"] = "changed", min_interval_s: float = 1.0) -> None:
        self.clock = FakeClock()
        self.sent: list[bytes] = []
        self.connected = True
        self.sink = MqttSink(
            MqttConfig("mqtt", when, min_interval_s), ResultFormat("birds", ("main",)), self._publish, self.clock
        )

    def _publish(self, payload: bytes) -> bool:
        if self.connected:
            self.sent.append(payload)
        return self.connected

    def see(self, *labels: str | None, task: str = "classification", after_s: float = 2.0) -> None:
        self.clock.advance(after_s)
        self.sink.take(result(*labels, task=task))

    @property
    def labels(self) -> list[list[str]]:
        return [[each["label"] for each in json.loads(payload)["results"]] for payload in self.sent]


def test_only_a_change_of_the_best_label_is_sent() -> None:
    broker = Broker()
    for labels in (["crow", "owl"], ["crow", "tit"], ["owl", "crow"], ["owl"], []):
        broker.see(*labels)
    assert broker.labels == [["crow", "owl"], ["owl", "crow"], []]


def test_of_a_detection_a_change_of_the_set_of_labels_is_sent() -> None:
    broker = Broker()
    for labels in (["dog", "cat"], ["cat", "dog"], ["cat", "cat", "dog"], ["cat"], []):
        broker.see(*labels, task="detection")
    assert broker.labels == [["dog", "cat"], ["cat"], []]


def test_a_model_without_labels_is_told_apart_by_its_classes() -> None:
    broker = Broker()
    broker.see(None)
    broker.see(None)
    assert len(broker.sent) == 1


def test_a_change_that_comes_too_soon_is_sent_when_it_lasts() -> None:
    broker = Broker(min_interval_s=1.0)
    broker.see("crow")
    broker.see("owl", after_s=0.4)
    assert broker.labels == [["crow"]]
    broker.see("owl", after_s=0.4)
    broker.see("owl", after_s=0.4)
    assert broker.labels == [["crow"], ["owl"]]


def test_a_change_that_does_not_last_is_not_sent() -> None:
    broker = Broker(min_interval_s=1.0)
    broker.see("crow")
    broker.see("owl", after_s=0.4)
    broker.see("crow", after_s=0.4)
    broker.sink.flush()
    assert broker.labels == [["crow"]]


def test_the_last_change_of_a_source_that_ends_is_sent() -> None:
    broker = Broker(min_interval_s=1.0)
    broker.see("crow")
    broker.see("owl", after_s=0.4)
    broker.sink.close()
    assert broker.labels == [["crow"], ["owl"]]


def test_a_change_while_the_link_is_down_is_told_of_and_sent_when_it_is_up_again() -> None:
    broker = Broker()
    broker.see("crow")
    broker.connected = False
    broker.see("owl")
    assert (broker.labels, broker.sink.dropped) == ([["crow"]], 1)
    assert "the link to the broker is down" in (broker.sink.problem or "")
    broker.connected = True
    broker.see("owl")
    broker.see("owl")
    assert broker.labels == [["crow"], ["owl"]]
    assert broker.sink.problem is None


@pytest.mark.parametrize(("min_interval_s", "sent"), [(0.0, 4), (5.0, 2)])
def test_always_sends_each_result_but_never_too_often(min_interval_s: float, sent: int) -> None:
    broker = Broker("always", min_interval_s)
    for _ in range(4):
        broker.see("crow", after_s=2.0)
    assert len(broker.sent) == sent


def test_a_result_too_large_for_a_message_is_told_and_not_tried_again() -> None:
    broker = Broker()
    broker.see(*(f"label {number}" for number in range(2000)), task="detection")
    assert (broker.sent, broker.sink.dropped) == ([], 1)
    assert "a message holds at most 60000" in (broker.sink.problem or "")
    broker.see("crow")
    assert (broker.labels, broker.sink.problem) == ([["crow"]], None)


# --- what counts as changed -------------------------------------------------------------------------------------------


def values(*each: float) -> Any:
    return staged(
        {"main": answer(*({"label": "t", "score": 1.0, "value": value} for value in each), task="regression")}
    )


def test_of_plain_values_each_other_value_is_a_change() -> None:
    assert gist(values(20.5)) == gist(values(20.5))
    assert gist(values(20.5)) != gist(values(20.6))


def test_of_an_anomaly_its_label_counts_and_not_its_score() -> None:
    def seen(label: str | None, value: float) -> object:
        prediction = {"label": label, "index": 1, "score": value, "value": value}
        return gist(staged({"main": answer(prediction, task="anomaly")}))

    assert seen("anomaly", 0.6) == seen("anomaly", 0.7)
    assert seen("anomaly", 0.6) != seen("normal", 0.2)
    assert seen(None, 0.6) != seen(None, 0.7)  # without a threshold nobody knows what is normal


def cascade(*names: tuple[str, str]) -> Any:
    """Birds, each with what the second stage called it, and what else it might be."""
    crops = [{"label": name, "index": 0, "score": 0.8} for _, name in names]
    also = [{"label": f"not {name}", "index": 1, "score": 0.1} for _, name in names]
    pairs = zip(names, crops, also, strict=True)
    birds = [found(bird, stages={"name": [best, other]}) for (bird, _), best, other in pairs]
    answers = {"find": answer(*birds, task="detection")}
    return staged(answers | ({"name": answer(*crops, *also)} if names else {}))


def test_what_a_stage_says_of_crops_counts_by_the_object_it_is_of() -> None:
    one = cascade(("bird", "tit"), ("bird", "crow"))
    assert gist(one) == gist(cascade(("bird", "crow"), ("bird", "tit")))  # found in another order
    assert gist(one) == gist(cascade(("bird", "crow"), ("bird", "tit"), ("bird", "tit")))
    assert gist(one) != gist(cascade(("bird", "owl"), ("bird", "tit")))
    assert gist(one) != gist(cascade(("cat", "crow"), ("bird", "tit")))
    assert gist(one) != gist(cascade())


def test_a_change_of_any_stage_side_by_side_counts() -> None:
    def both(first: str, second: str) -> object:
        return gist(staged({"a": answer({"label": first}), "b": answer({"label": second})}))

    assert both("x", "y") == both("x", "y")
    assert both("x", "y") != both("x", "z")
