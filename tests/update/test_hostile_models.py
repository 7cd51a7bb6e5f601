"""Models with damaged bytes go through the real probe: each is refused with a reason, or answers as it should.

Meanwhile a worker serves the release that is committed, and is not disturbed. `HOSTILE_MODELS=1000` asks for so many of
each model instead of the few of the default run.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from edge_agent.config.pipeline import PipelineConfig, StageConfig
from edge_agent.config.sources import FolderSource
from edge_agent.errors import Reason
from edge_agent.inference.ipc import Result
from edge_agent.inference.model import open_release
from edge_agent.inference.server import PipelineServer
from edge_agent.inference.stage_server import WorkerExited
from edge_agent.release.golden import GoldenVectors, format_golden
from edge_agent.release.manifest import LABELS_FILE, MODEL_FILE
from tests.inference.releases import Words, digits_release, linescan_release, write_pictures
from tests.sim.artifact import make_members, unpack
from tests.update.hostile import Damager

CURRENT = "c" * 64
SEED = 4
ASKED_FOR = int(os.environ.get("HOSTILE_MODELS", "0"))
PATIENCE_S = 300 + 2 * ASKED_FOR
# All that a model can be refused for, and nothing else: no limit is set, and its manifest is right.
REFUSALS = {
    Reason.NOT_A_MODEL,
    Reason.UNSUPPORTED_OPERATOR,
    Reason.MISSING_DELEGATE,
    Reason.LOAD_FAILED,
    Reason.INCOMPATIBLE,
    Reason.LABELS_MISMATCH,
    Reason.GOLDEN_MISMATCH,
    Reason.TRIAL_ERRORS,  # outputs that are no numbers
    Reason.PROBE_CRASHED,
    Reason.PROBE_TIMEOUT,
    Reason.TOO_BIG,
}

pytestmark = pytest.mark.timeout(PATIENCE_S)


def golden_of(release: Path) -> bytes:
    """What an undamaged model answers to noise."""
    chance = np.random.default_rng(0)
    with open_release(release, 1) as model:
        inputs = [
            tuple((255 * chance.random(each.shape)).astype(each.dtype) for each in model.engine.inputs)
            for _ in range(3)
        ]
        outputs = [tuple(model.real_outputs(model.engine.invoke(vector))) for vector in inputs]
    return format_golden(GoldenVectors(tuple(inputs), tuple(outputs)))


def probe_damaged(release: Path, count: int, folder: Path) -> Counter[str]:
    """The verdicts, while a worker serves another release; which must not notice."""
    words = Words()
    source = FolderSource("folder", write_pictures(folder / "pictures", 3), repeat=True, max_fps=20.0)
    with PipelineServer("birds", PipelineConfig(source, {"main": StageConfig("digits")}), words.say) as server:
        server.stages["main"].serve(CURRENT, digits_release(folder / CURRENT))
        pid = server.pid
        command = [sys.executable, "-m", "tests.update.hostile", str(release), "0", str(count), str(SEED)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
        assert done.returncode == 0, done.stderr[-2000:]
        while words.pending:
            words.until(Result)
        assert words.until(Result, count=3).answers["main"].digest == CURRENT  # it still answers
        assert server.pid == pid
    assert not [word for word in words.all if isinstance(word, WorkerExited)]
    told = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert [each["number"] for each in told] == list(range(count))
    wrong = [each for each in told if each["verdict"] not in {"proved", *REFUSALS}]
    assert wrong == []
    return Counter(each["verdict"] for each in told)


def test_damaged_models_are_refused_or_answer_as_they_should_and_the_current_one_serves(tmp_path: Path) -> None:
    golden = golden_of(linescan_release(tmp_path / "plain"))

    verdicts = probe_damaged(linescan_release(tmp_path / "release", golden=golden), ASKED_FOR or 400, tmp_path)

    # The damage is neither all harmless nor all found out before it is run.
    assert verdicts["proved"] > 0
    assert verdicts[Reason.NOT_A_MODEL] > 0
    assert verdicts[Reason.LOAD_FAILED] > 0
    assert verdicts[Reason.GOLDEN_MISMATCH] > 0


@pytest.mark.shared_data
def test_so_are_those_of_a_quantized_mobilenet(shared_data: Path, tmp_path: Path) -> None:
    members = {
        MODEL_FILE: (shared_data / "models/classification/mobilenet_v2_1.0_224_quant.tflite").read_bytes(),
        LABELS_FILE: (shared_data / "labels/imagenet_labels.txt").read_bytes(),
    }
    plain = unpack(make_members(members[MODEL_FILE], labels=members[LABELS_FILE]), tmp_path / "plain")
    golden = golden_of(plain)
    release = unpack(
        make_members(members[MODEL_FILE], labels=members[LABELS_FILE], golden=golden), tmp_path / "release"
    )

    verdicts = probe_damaged(release, ASKED_FOR or 60, tmp_path)

    assert verdicts["proved"] > 0
    assert verdicts[Reason.NOT_A_MODEL] > 0


def test_the_same_numbers_give_the_same_damage(tmp_path: Path) -> None:
    model = (linescan_release(tmp_path) / MODEL_FILE).read_bytes()
    one, other = Damager(model), Damager(model)

    for number in range(16):
        assert one.damaged(number, 1) == other.damaged(number, 1)
        assert one.damaged(number, 1)[1] != model
    assert one.damaged(1, 1) != one.damaged(1, 2)
