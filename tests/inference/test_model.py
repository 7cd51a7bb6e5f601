"""Transform, engine and decoder that fit each other, or an error at the very start."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edge_agent.errors import ArtifactError, FrameError, ModelError, Reason
from edge_agent.inference.model import Model, assemble, open_release
from edge_agent.release.inputs import ImageInput, SignalInput, TensorInput
from edge_agent.release.manifest import parse_manifest
from edge_agent.release.outputs import OutputSpec
from edge_agent.tasks.prediction import Prediction
from edge_agent.transform.tensor import Quantization, TensorSpec
from tests.sim.artifact import make_members, unpack
from tests.sim.engine import FakeEngine

PICTURE = TensorSpec("image", (1, 4, 4, 3), np.dtype(np.uint8), Quantization(1 / 255, 0))
WINDOW = TensorSpec("window", (1, 2, 3), np.dtype(np.float32))
SCORES = TensorSpec("scores", (1, 2), np.dtype(np.uint8), Quantization(1 / 256, 0))
VECTOR = TensorSpec("vector", (1, 3), np.dtype(np.int8), Quantization(0.5, 1))


def model(*, inputs: tuple[TensorSpec, ...] = (PICTURE,), labels: tuple[str, ...] = (), **manifest: Any) -> Model:
    engine = FakeEngine(inputs, (SCORES,), lambda _: [np.array([[64, 192]], np.uint8)])
    return assemble(parse_manifest(make_members(b"x", **manifest)["manifest.json"]), labels, engine)


def test_a_picture_becomes_predictions() -> None:
    with model(labels=("cat", "dog")) as subject:
        prepared = subject.prepare_image(Image.new("RGB", (8, 8)))
        assert prepared.placement is not None
        outputs = subject.invoke(prepared)
        assert subject.decode(outputs, prepared) == [Prediction(1, 0.75, "dog"), Prediction(0, 0.25, "cat")]
        assert subject.real_outputs(outputs)[0].tolist() == [[0.25, 0.75]]
        assert subject.disagreements([subject.real_outputs(outputs)], [[np.array([[0.5, 0.5]], np.float32)]]) == [0.25]
        assert subject.top1_agrees(subject.real_outputs(outputs), subject.real_outputs(outputs))
    assert subject.engine.closed  # type: ignore[attr-defined]


def test_a_window_becomes_predictions() -> None:
    subject = model(inputs=(WINDOW,), task="signal_classification", source=SignalInput(window=2, stride=1))
    assert subject.channels == 3
    windower = subject.windower()
    assert windower.push((1, 2, 3)) is None
    window = windower.push((4, 5, 6))
    assert window is not None
    assert subject.prepare_rows(window).inputs[0].tolist() == [[[1, 2, 3], [4, 5, 6]]]


def test_tensors_are_filled_with_real_or_stored_values() -> None:
    subject = model(inputs=(VECTOR,), source=TensorInput())
    assert subject.prepare_tensors([[1.0, -1.0, 1000.0]]).inputs[0].tolist() == [[3, -1, 127]]
    assert subject.prepare_tensors([np.array([3, -1, 127], np.int8)]).inputs[0].tolist() == [[3, -1, 127]]


@pytest.mark.parametrize("values", [[], [[1, 2]], [["a", "b", "c"]], [[1, 2, 3], [1]]])
def test_tensors_that_do_not_fit_are_a_frame_error(values: list[Any]) -> None:
    with pytest.raises(FrameError):
        model(inputs=(VECTOR,), source=TensorInput()).prepare_tensors(values)


def test_a_model_says_what_it_does_not_take() -> None:
    pictures = model()
    for prepare in (lambda: pictures.prepare_rows([[1]]), pictures.windower):
        with pytest.raises(FrameError, match="takes no windows") as caught:
            prepare()
        assert caught.value.hint == "give it pictures"
    with pytest.raises(FrameError, match="takes no pictures"):
        model(inputs=(WINDOW,), task="raw", source=TensorInput()).prepare_image(Image.new("L", (1, 1)))


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"inputs": (WINDOW,)}, Reason.INCOMPATIBLE),
        ({"inputs": (PICTURE, PICTURE)}, Reason.INCOMPATIBLE),
        ({"source": SignalInput(window=7)}, Reason.INCOMPATIBLE),
        ({"source": ImageInput(color="gray")}, Reason.INCOMPATIBLE),
        ({"task": "detection"}, Reason.INCOMPATIBLE),
        ({"task": "detection", "inputs": (VECTOR,), "source": TensorInput()}, Reason.INCOMPATIBLE),
        ({"labels": ("cat",)}, Reason.LABELS_MISMATCH),
    ],
)
def test_a_manifest_that_does_not_fit_its_model_is_refused_at_the_start(wrong: dict[str, Any], reason: Reason) -> None:
    with pytest.raises(ModelError) as caught:
        model(**wrong)
    assert caught.value.reason is reason


@pytest.mark.shared_data
def test_an_unpacked_release_is_opened(shared_data: Path, tmp_path: Path) -> None:
    content = (shared_data / "models/classification/mnist_conv_fc_float.tflite").read_bytes()
    source = ImageInput(color="gray", mean=(0.0,), std=(255.0,))
    members = make_members(content, source=source, labels=b"".join(b"%d\n" % digit for digit in range(10)))
    with open_release(unpack(members, tmp_path / "release"), 1) as subject:
        for digit in range(5):
            with Image.open(shared_data / f"images/mnist/sample{digit}.png") as picture:
                prepared = subject.prepare_image(picture)
            assert subject.decode(subject.invoke(prepared), prepared)[0].label == str(digit)


@pytest.mark.shared_data
def test_a_release_with_the_wrong_number_of_labels_is_refused(shared_data: Path, tmp_path: Path) -> None:
    content = (shared_data / "models/classification/mnist_conv_fc_float.tflite").read_bytes()
    members = make_members(content, source=ImageInput(color="gray"), labels=b"one\ntwo\n")
    with pytest.raises(ModelError, match="10 classes; there are 2 labels") as caught:
        open_release(unpack(members, tmp_path / "release"), 1)
    assert caught.value.reason is Reason.LABELS_MISMATCH


def test_a_release_whose_files_are_missing_or_broken_is_an_artifact_error(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"manifest\.json"):
        open_release(tmp_path, 1)
    directory = unpack(make_members(b"x", labels=b"\xff\xff"), tmp_path / "release")
    with pytest.raises(ArtifactError, match="UTF-8") as caught:
        open_release(directory, 1)
    assert caught.value.reason is Reason.BAD_MANIFEST
    (directory / "labels.txt").unlink()
    with pytest.raises(ArtifactError, match=r"labels\.txt"):
        open_release(directory, 1)


def test_top_k_of_the_manifest_is_kept() -> None:
    subject = model(output=OutputSpec(top_k=1))
    prepared = subject.prepare_image(Image.new("RGB", (8, 8)))
    assert len(subject.decode(subject.invoke(prepared), prepared)) == 1
