"""Tasks of other distributions, really installed ones."""

from pathlib import Path

import numpy as np
import pytest

from edge_agent.errors import ModelError, Reason
from edge_agent.release.outputs import OutputSpec
from edge_agent.tasks.decoder import Decoder, build_decoder
from edge_agent.tasks.prediction import Prediction
from edge_agent.transform.prepared import Prepared
from edge_agent.transform.tensor import TensorSpec
from tests.sim.distribution import install

TENSOR = TensorSpec("level", (1, 2), np.dtype(np.float32))
METER = """
from edge_agent.tasks.prediction import Prediction

class Meter:
    def __init__(self, labels):
        self.labels = labels

    def decode(self, outputs, prepared):
        return [Prediction(0, 1.0, self.labels[0], value=float(outputs[0].sum()), unit="l")]

def build(spec, outputs, labels, inputs):
    if len(outputs) != 1:
        raise ValueError("a meter has one output")
    return Meter(labels)
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def meter_of(site: Path, module: str, outputs: tuple[TensorSpec, ...] = (TENSOR,)) -> Decoder:
    install(site, "edge-meter", "edge_deploy.tasks", {"meter": "edge_meter:build"}, module)
    return build_decoder("plugin", OutputSpec(plugin="meter"), outputs, ("tank",), (TENSOR,))


def test_a_plugin_decodes_what_the_model_gives(site: Path) -> None:
    decoder = meter_of(site, METER)
    assert decoder.decode([np.array([[1.0, 2.5]], np.float32)], Prepared()) == [
        Prediction(0, 1.0, "tank", value=3.5, unit="l")
    ]


def test_a_plugin_that_is_not_installed_is_incompatible_and_told_how_to_be(site: Path) -> None:
    install(site, "edge-meter", "edge_deploy.tasks", {"meter": "edge_meter:build"}, METER)
    with pytest.raises(ModelError, match=r"no plugin gauge .*installed: meter") as caught:
        build_decoder("plugin", OutputSpec(plugin="gauge"), (TENSOR,), ())
    assert caught.value.reason is Reason.INCOMPATIBLE
    assert "pip install" in str(caught.value.hint)


def test_a_manifest_must_name_its_plugin(site: Path) -> None:
    install(site, "edge-meter", "edge_deploy.tasks", {"meter": "edge_meter:build"}, METER)
    with pytest.raises(ModelError, match=r"output\.plugin") as caught:
        build_decoder("plugin", OutputSpec(), (TENSOR,), ())
    assert caught.value.reason is Reason.INCOMPATIBLE
    assert "meter" in str(caught.value.hint)


def test_a_plugin_may_refuse_a_model(site: Path) -> None:
    with pytest.raises(ModelError, match="does not take this model: ValueError: a meter has one output") as caught:
        meter_of(site, METER, (TENSOR, TENSOR))
    assert caught.value.reason is Reason.INCOMPATIBLE


def test_what_a_plugin_builds_must_be_a_decoder(site: Path) -> None:
    with pytest.raises(ModelError, match=r"gave a int, which has no decode\(\)") as caught:
        meter_of(site, "def build(spec, outputs, labels, inputs):\n    return 7\n")
    assert caught.value.reason is Reason.INCOMPATIBLE


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("return outputs[7]", "failed: IndexError"),
        ("raise RuntimeError('no such tank')", "failed: RuntimeError: no such tank"),
        ("return {'level': 3}", r"gave no list of predictions but \{'level': 3\}"),
        ("return [3]", r"gave no list of predictions but \[3\]"),
    ],
)
def test_a_plugin_that_fails_is_the_fault_of_the_release_that_wants_it(site: Path, body: str, told: str) -> None:
    decoder = meter_of(site, METER.replace("return [Prediction", f"{body}\n        return [Prediction"))
    with pytest.raises(ModelError, match=f"the plugin meter {told}") as caught:
        decoder.decode([np.zeros((1, 2), np.float32)], Prepared())
    assert caught.value.reason is Reason.TRIAL_ERRORS
