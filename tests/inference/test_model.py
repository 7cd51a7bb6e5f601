"""Transform, engine and decoder that fit each other, or an error at the very start."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edge_agent.errors import ArtifactError, FrameError, ModelError, Reason
from edge_agent.inference.model import Model, assemble, open_release
from edge_agent.release.inputs import AudioInput, ImageInput, SignalInput, TensorInput
from edge_agent.release.manifest import Runtime, parse_manifest
from edge_agent.release.outputs import OutputSpec
from edge_agent.tasks.prediction import Prediction
from edge_agent.transform.prepared import Prepared
from edge_agent.transform.tensor import Quantization, TensorSpec
from tests.inference.releases import digits_release
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


# --- models that remember, and models of several inputs -----------------------------------------------------------

STEP = {"signature": "step", "state": {"next_sum": "sum"}, "constants": {"gain": 10.0}, "task": "raw"}


def running_sum(directory: Path, **more: Any) -> Model:
    """It gives (the sum of all x so far) x gain."""
    content = (Path(__file__).parent / "models" / "running_sum.tflite").read_bytes()
    members = make_members(content, **{**STEP, "source": TensorInput(), **more})
    return open_release(unpack(members, directory), 1)


def answer(subject: Model, *x: float) -> list[float]:
    values: list[float] = subject.invoke(subject.prepare_row(x))[0].reshape(-1).tolist()
    return values


def test_what_a_model_remembers_is_fed_back_from_frame_to_frame(tmp_path: Path) -> None:
    with running_sum(tmp_path) as subject:
        assert [tensor.name for tensor in subject.inputs] == ["x"]
        assert [tensor.name for tensor in subject.outputs] == ["y"]
        assert answer(subject, 1, 2) == [10, 20]
        assert answer(subject, 1, 2) == [20, 40]
        subject.reset_state()
        assert answer(subject, 1, 2) == [10, 20], "it began anew"
        subject.warm_up()
        together = subject.invoke_batch([subject.prepare_tensors([(1, 1)])] * 2)
        assert [outputs[0].tolist() for outputs in together] == [[[20, 30]], [[30, 40]]], "one after the other"


def test_golden_vectors_of_a_model_that_remembers_hold_its_state_and_leave_no_trace(tmp_path: Path) -> None:
    with running_sum(tmp_path) as subject:
        assert answer(subject, 1, 2) == [10, 20]
        stored = [np.array([[5, 5]], np.float32), np.array([[1, 1]], np.float32)]  # sum, x: by name behind gain
        golden = [np.array(2, np.float32), *stored]
        assert [tensor.name for tensor in subject.engine.inputs] == ["gain", "sum", "x"]
        outputs = subject.real_outputs(subject.engine.invoke(golden))
        assert [array.tolist() for array in outputs] == [[[6, 6]], [[12, 12]]]
        assert subject.invoke(Prepared(tuple(golden)))[0].tolist() == [[12, 12]]
        answers_only = subject.real_outputs(subject.invoke(Prepared(tuple(golden))))
        assert subject.disagreements([outputs], [answers_only]) == [0.0]
        assert subject.top1_agrees(outputs, answers_only)
        assert answer(subject, 0, 0) == [10, 20], "its own state is what it was"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"state": {"next": "sum"}}, "state names output 'next'; the model's are next_sum, y"),
        ({"state": {"next_sum": "h"}}, "state names input 'h'; the model's are gain, sum, x"),
        ({"state": {"next_sum": "gain"}, "constants": {}}, "which does not take it"),
        ({"constants": {"rate": 1.0}}, "constants names input 'rate'"),
        ({"constants": {"gain": (1.0, 2.0)}}, "2 values for gain"),
        ({"constants": {"gain": 1.0, "sum": 0.0}}, "inputs sum are fed twice"),
        ({"signature": "walk"}, "no signature 'walk'; it has step"),
        ({"constants": {}, "source": SignalInput(window=1)}, "those left to be filled are gain"),
        (
            {"source": SignalInput(window=1, tensor="sum")},
            "input.tensor names 'sum'; the inputs left to be filled are x",
        ),
    ],
)
def test_a_manifest_that_feeds_what_there_is_not_is_refused(wrong: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=words) as caught:
        running_sum(tmp_path, **wrong)
    assert caught.value.reason is Reason.INCOMPATIBLE


def test_a_window_goes_to_the_input_that_is_left(tmp_path: Path) -> None:
    with running_sum(tmp_path, source=SignalInput(window=1, tensor="x")) as subject:
        prepared = subject.prepare_rows([[1, 2]])
        assert subject.invoke(prepared)[0].tolist() == [[10, 20]]


def test_a_row_is_dealt_out_to_the_inputs(tmp_path: Path) -> None:
    with running_sum(tmp_path, state={}, constants={}) as subject:
        assert [tensor.name for tensor in subject.inputs] == ["gain", "sum", "x"]
        assert subject.invoke(subject.prepare_row((2, 10, 20, 1, 2)))[1].tolist() == [[22, 44]]
        assert subject.invoke(subject.prepare_tensors([2, (10, 20), (1, 2)]))[1].tolist() == [[22, 44]]
        with pytest.raises(FrameError, match="takes 5 values a row; found 4"):
            subject.prepare_row((1, 2, 3, 4))
        with pytest.raises(FrameError, match="not finite"):
            subject.prepare_row((1, 2, 3, 4, float("nan")))


def test_a_speech_model_with_state_and_sample_rate_can_be_said() -> None:
    """As Silero's: 64 + 512 samples, a state of [2,1,128], and the rate as int64."""
    sound = TensorSpec("input", (1, 576), np.dtype(np.float32))
    state, after = (TensorSpec(name, (2, 1, 128), np.dtype(np.float32)) for name in ("state", "stateN"))
    rate = TensorSpec("sr", (), np.dtype(np.int64))
    score = TensorSpec("output", (1, 1), np.dtype(np.float32))
    seen = []

    def speech(inputs: Any) -> list[Any]:
        seen.append([array.copy() for array in inputs])
        return [inputs[0].mean().reshape(1, 1), inputs[1] + 1]

    engine = FakeEngine((sound, state, rate), (score, after), speech)
    more: dict[str, Any] = {"state": {"stateN": "state"}, "constants": {"sr": 16_000}}
    spec = AudioInput(window=512, stride=512, context=64, tensor="input")
    members = make_members(b"x", task="raw", source=spec, **more)
    subject = assemble(parse_manifest(members["manifest.json"]), (), engine)
    for _ in range(3):
        assert subject.invoke(subject.prepare_sound(np.ones(576, np.float32)))[0].tolist() == [[1.0]]
    assert [float(inputs[1].max()) for inputs in seen] == [0, 1, 2]
    assert {(int(inputs[2]), inputs[2].dtype.name, inputs[2].shape) for inputs in seen} == {(16_000, "int64", ())}


def test_a_quantized_state_begins_at_real_zero_and_keeps_its_value_across_scales() -> None:
    given = TensorSpec("h", (1, 1), np.dtype(np.int8), Quantization(0.5, 10))
    after = TensorSpec("h_next", (1, 1), np.dtype(np.int8), Quantization(0.25, -4))
    x = TensorSpec("x", (1, 1), np.dtype(np.float32))
    seen = []

    def step(inputs: Any) -> list[Any]:
        seen.append(int(inputs[1][0, 0]))
        return [inputs[0], np.array([[4]], np.int8)]  # real 2.0

    members = make_members(b"x", task="raw", source=TensorInput(), state={"h_next": "h"})
    subject = assemble(parse_manifest(members["manifest.json"]), (), FakeEngine((x, given), (x, after), step))
    for _ in range(2):
        subject.invoke(subject.prepare_tensors([[1.0]]))
    assert seen == [10, 14], "real 0.0, then real 2.0"


def test_a_model_that_fails_keeps_its_state() -> None:
    x = TensorSpec("x", (1, 1), np.dtype(np.float32))
    h = TensorSpec("h", (1, 1), np.dtype(np.float32))
    calls: list[float] = []

    def step(inputs: Any) -> list[Any] | None:
        calls.append(float(inputs[1][0, 0]))
        return None if inputs[0][0, 0] < 0 else [inputs[0], inputs[1] + inputs[0]]

    members = make_members(b"x", task="raw", source=TensorInput(), state={"h": "h"})
    subject = assemble(parse_manifest(members["manifest.json"]), (), FakeEngine((x, h), (x, h), step))
    subject.invoke(subject.prepare_tensors([[3.0]]))
    with pytest.raises(ModelError):
        subject.invoke(subject.prepare_tensors([[-1.0]]))
    subject.invoke(subject.prepare_tensors([[1.0]]))
    assert calls == [0, 3, 3]


@pytest.mark.parametrize("dynamic", [False, True])
def test_several_pictures_are_invoked_at_once_where_the_batch_is_open(dynamic: bool) -> None:  # noqa: FBT001
    batches: list[int] = []

    def mean(inputs: Any) -> list[Any]:
        batches.append(len(inputs[0]))
        shade = inputs[0].mean(axis=(1, 2, 3)).astype(np.uint8)
        return [np.stack([shade, 255 - shade], axis=1)]

    engine = FakeEngine((PICTURE,), (SCORES,), mean, dynamic_batch=dynamic)
    subject = assemble(parse_manifest(make_members(b"x")["manifest.json"]), (), engine)
    pictures = [subject.prepare_image(Image.new("RGB", (8, 8), (shade,) * 3)) for shade in (10, 20, 30)]
    found = subject.invoke_batch(pictures)
    assert [outputs[0].tolist() for outputs in found] == [[[10, 245]], [[20, 235]], [[30, 225]]]
    assert batches == ([3] if dynamic else [1, 1, 1])
    assert subject.invoke_batch([]) == []
    assert [len(subject.decode(outputs, one)) for outputs, one in zip(found, pictures, strict=True)] == [2, 2, 2]


def test_a_batch_that_turns_out_closed_is_invoked_one_by_one(tmp_path: Path) -> None:
    content = (Path(__file__).parent / "models" / "closed_batch.tflite").read_bytes()
    with open_release(unpack(make_members(content, task="raw", source=TensorInput()), tmp_path), 1) as subject:
        several = [subject.prepare_tensors([(number, 0)]) for number in range(3)]
        assert subject.engine.dynamic_batch
        for _ in range(2):
            assert [outputs[0].tolist() for outputs in subject.invoke_batch(several)] == [[[0, 0]], [[1, 0]], [[2, 0]]]
            assert not subject.engine.dynamic_batch


def test_a_release_made_for_a_delegate_is_not_run_without_one(tmp_path: Path) -> None:
    release = digits_release(tmp_path / "release", runtime=Runtime(delegate="edgetpu"))
    with pytest.raises(ModelError, match="made for delegate 'edgetpu'") as caught:
        open_release(release)
    assert caught.value.reason is Reason.MISSING_DELEGATE
    assert caught.value.hint
