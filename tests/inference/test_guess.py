"""What is guessed of models that say little, one by one; that the guess is told; and that what is said wins."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_agent.inference.guess import Guess, guess
from edge_agent.inference.metadata import BoxLayout, TensorMetadata
from edge_agent.inference.model_file import Signature, inspect_model
from edge_agent.inference.said import Said
from edge_agent.inference.tflite import open_engine
from edge_agent.release.inputs import AudioInput, ImageInput, SignalInput, TensorInput
from edge_agent.tasks.keypoints import COCO_KEYPOINTS
from edge_agent.transform.tensor import TensorSpec
from tests.sim.engine import FakeEngine
from tests.sim.model_file import describe, tensor

MODELS = Path(__file__).parent / "models"
PICTURE = tensor("image", 1, 224, 224, 3)
SCORES = tensor("probabilities", 1, 10)
IMAGENET = tensor("x", 1, 8, 8, 3, dtype=np.int8, scale=0.0187, zero_point=-14)
NOTHING = Said()


@pytest.fixture
def guessed(tmp_path: Path) -> Any:
    def work(inputs: list[TensorSpec], outputs: list[TensorSpec], said: Said = NOTHING, **described: Any) -> Guess:
        model = describe(tmp_path / "model.tflite", inputs, outputs, **described)
        return guess(model, FakeEngine(inputs, outputs, lambda _: None), said)

    return work


def text(found: Guess) -> str:
    return "\n".join(found.notes)


@pytest.mark.parametrize(
    ("given", "answer", "kind", "task"),
    [
        ([tensor("x", 1, 224, 224, 3)], [SCORES], "image", "classification"),
        ([tensor("x", 1, 28, 28, 1)], [SCORES], "image", "classification"),
        ([tensor("x", 1, 52, 3)], [SCORES], "signal", "signal_classification"),
        ([tensor("x", 1, 1, 52, 3)], [SCORES], "signal", "signal_classification"),
        ([tensor("x", 1, 120, 4, 1)], [SCORES], "signal", "signal_classification"),
        ([tensor("x", 1, 15_600)], [SCORES], "audio", "audio_classification"),
        ([tensor("x", 16_000)], [SCORES], "audio", "audio_classification"),
        ([tensor("x", 1, 49, 40, 1)], [SCORES], "audio", "audio_classification"),
        ([tensor("x", 1, 1960, dtype=np.int8)], [SCORES], "audio", "audio_classification"),
        ([tensor("x", 1, 49, 10, 1)], [SCORES], "audio", "audio_classification"),
        ([tensor("x", 1, 8)], [tensor("y", 1, 1)], "tensor", "regression"),
        ([tensor("x", 1)], [tensor("y", 1)], "tensor", "regression"),
        ([tensor("x", 1, 8)], [tensor("y", 1, 3)], "tensor", "raw"),
        ([tensor("x", 1, 8)], [tensor("y", 1, 8)], "tensor", "anomaly"),
        ([tensor("x", 1, 64, 3)], [tensor("y", 1, 64, 3)], "signal", "anomaly"),
        ([tensor("x", 1, 16_000)], [tensor("y", 1, 1)], "audio", "regression"),
        ([PICTURE], [tensor("angle", 1, 1)], "image", "regression"),
        ([PICTURE], [tensor("map", 1, 224, 224, dtype=np.int64)], "image", "segmentation"),
        ([PICTURE], [tensor("map", 1, 56, 56, 21)], "image", "segmentation"),
        ([PICTURE], [tensor("mask", 1, 224, 224, 1)], "image", "segmentation"),
        ([PICTURE], [tensor("picture", 1, 224, 224, 3)], "image", "raw"),
        ([PICTURE], [tensor("a", 1, 7, 7, 5), tensor("b", 1, 9)], "image", "raw"),
    ],
)  # fmt: skip
def test_input_and_task_are_guessed_from_shapes_and_told(
    guessed: Any, given: list[TensorSpec], answer: list[TensorSpec], kind: str, task: str
) -> None:
    found = guessed(given, answer)
    assert (found.manifest.input.kind, found.manifest.task) == (kind, task)
    assert f"task guessed from the outputs: {task} ({answer[0].label}" in text(found)


@pytest.mark.parametrize(
    ("size", "answer", "decoder", "prepared"),
    [
        (640, [tensor("y", 1, 84, 8400)], "yolov8", ("letterbox", (0.0,))),
        (640, [tensor("y", 1, 25_200, 85)], "yolov5", ("letterbox", (0.0,))),
        (128, [tensor("a", 1, 896, 16), tensor("b", 1, 896, 1)], "blazeface", ("letterbox", (127.5,))),
        (352, [tensor("y", 1, 22, 22, 85)], "fastestdet", ("stretch", (0.0,))),
        (192, [tensor("y", 1, 1, 17, 3)], "movenet", ("letterbox", None)),
    ],
)
def test_a_known_head_tells_how_its_pictures_are_prepared(
    guessed: Any, size: int, answer: list[TensorSpec], decoder: str, prepared: Any
) -> None:
    found = guessed([tensor("image", 1, size, size, 3)], answer)
    source = found.manifest.input
    task = "pose" if decoder == "movenet" else "detection"
    assert (found.manifest.task, found.manifest.output.decoder) == (task, decoder)
    assert (source.fit, source.mean) == prepared
    assert source.color == ("bgr" if decoder == "fastestdet" else "rgb")
    assert f"decoder guessed: {decoder}" in text(found)


def test_the_map_of_another_shape_than_the_picture_is_none(guessed: Any) -> None:
    assert guessed([PICTURE], [tensor("y", 1, 56, 28, 21)]).manifest.task == "raw"
    assert guessed([PICTURE], [tensor("y", 1, 7, 7, 21)]).manifest.task == "raw"


def test_a_picture_of_class_scores_is_told_from_a_picture_by_its_last_operator(guessed: Any) -> None:
    answer = [tensor("y", 1, 224, 224, 3)]
    assert guessed([PICTURE], answer, operators=["SOFTMAX"]).manifest.task == "segmentation"


def test_plain_numbers_are_classes_only_where_scores_are_given(guessed: Any) -> None:
    given, answer = [tensor("x", 1, 8)], [tensor("y", 1, 3)]
    assert guessed(given, answer, operators=["SOFTMAX"]).manifest.task == "classification"
    assert guessed(given, answer, operators=["FULLY_CONNECTED"]).manifest.task == "raw"


def test_of_several_outputs_the_scores_are_found_by_what_is_said_of_them(guessed: Any) -> None:
    answer = [tensor("embedding", 1, 1024), tensor("spectrogram", 96, 64), tensor("y", 1, 521)]
    sound = TensorMetadata("audio_clip", "", content="audio", sample_rate_hz=32_000, channels=1)
    labeled = TensorMetadata("y", "", label_files=("l.txt",))
    said = ([sound], [TensorMetadata("e", ""), TensorMetadata("s", ""), labeled])
    labels = "".join(f"sound {number}\n" for number in range(521)).encode()
    found = guessed([tensor("waveform", 15_600)], answer, metadata=said, files={"l.txt": labels, "other.txt": b"a\n"})
    assert found.manifest.task == "audio_classification"
    assert found.manifest.output.output_order == (2,)
    assert found.labels[520] == "sound 520"
    assert found.manifest.input == AudioInput(sample_rate_hz=32_000, window=15_600, stride=7_800)
    assert "guessed; --sample-rate" not in text(found)


@pytest.mark.parametrize(
    ("values", "rate_hz"), [(15_600, 16_000), (16_000, 16_000), (144_000, 48_000), (44_100, 44_100)]
)
def test_the_rate_of_sound_is_guessed_by_its_length_and_may_be_said(guessed: Any, values: int, rate_hz: int) -> None:
    found = guessed([tensor("x", 1, values)], [SCORES])
    assert found.manifest.input == AudioInput(sample_rate_hz=rate_hz, window=values, stride=values // 2)
    assert f"{rate_hz} Hz, guessed; --sample-rate changes that" in text(found)
    said = guessed([tensor("x", 1, values)], [SCORES], Said(sample_rate_hz=22_050))
    assert said.manifest.input.sample_rate_hz == 22_050


def test_features_are_as_large_as_the_input_whatever_is_said(guessed: Any) -> None:
    found = guessed([tensor("x", 1, 96, 64)], [SCORES], Said(features="log_mel"))
    source = found.manifest.input
    assert (source.features, source.bins, 1 + (source.window - source.frame) // source.hop) == ("log_mel", 64, 96)
    spectrogram = guessed([tensor("x", 1, 124, 129, 1)], [SCORES], Said(features="spectrogram")).manifest.input
    assert (spectrogram.fft, spectrogram.frame, spectrogram.fft // 2 + 1) == (256, 256, 129)


def test_a_voice_detector_keeps_its_state_hears_context_and_is_told_its_rate(guessed: Any) -> None:
    given = [tensor("input", 1, 576), tensor("state", 2, 1, 128), tensor("sr", dtype=np.int64)]
    answer = [tensor("output", 1, 1), tensor("stateN", 2, 1, 128)]
    found = guessed(given, answer)
    assert found.manifest.state == {"stateN": "state"}
    assert found.manifest.constants == {"sr": 16_000.0}
    source = found.manifest.input
    assert (source.kind, source.window, source.stride, source.context) == ("audio", 512, 512, 64)
    assert "stateN → state" in text(found)
    assert "always gets the sample rate" in text(found)


@pytest.mark.parametrize(
    ("inputs", "outputs", "state"),
    [
        (["x", "state_in"], ["y", "state_out"], {"state_out": "state_in"}),
        (["x", "h_in", "c_in"], ["y", "h_out", "c_out"], {"h_out": "h_in", "c_out": "c_in"}),
        (["x", "serving_default_lstm_state:0"], ["y", "StatefulPartitionedCall:1"],
         {"StatefulPartitionedCall:1": "serving_default_lstm_state:0"}),
        (["x", "sum"], ["y", "next_sum"], {"next_sum": "sum"}),
        (["x", "image"], ["y", "image_out"], {}),
        (["x", "weights"], ["y", "z"], {}),
    ],
)  # fmt: skip
def test_a_state_is_found_by_shape_and_name(
    guessed: Any, inputs: list[str], outputs: list[str], state: dict[str, str]
) -> None:
    given = [tensor(inputs[0], 1, 8), *(tensor(name, 1, 64) for name in inputs[1:])]
    answer = [tensor(outputs[0], 1, 3), *(tensor(name, 1, 64) for name in outputs[1:])]
    found = guessed(given, answer)
    assert found.manifest.state == state
    assert ("state guessed" in text(found)) is bool(state)


def test_a_state_is_found_by_the_names_of_a_signature(guessed: Any) -> None:
    given = [tensor("a:0", 1, 160), tensor("b:0", 1, 64)]
    answer = [tensor("c:0", 1, 2), tensor("c:1", 1, 64)]
    names = Signature(
        "serving_default", {"x": "a:0", "hidden_in": "b:0"}, {"y": "c:0", "hidden_out": "c:1"},
        {"y": "SOFTMAX", "hidden_out": "TANH"},
    )  # fmt: skip
    found = guessed(given, answer, signatures=[names])
    assert found.manifest.state == {"c:1": "b:0"}
    assert found.manifest.task == "classification"


def test_a_real_model_that_remembers_is_found_out() -> None:
    path = MODELS / "running_sum.tflite"
    with open_engine(path) as engine:
        found = guess(inspect_model(path), engine)
    assert found.manifest.state == {"next_sum": "sum"}
    assert isinstance(found.manifest.input, TensorInput)
    assert "2 inputs (x float32[1,2], gain float32[])" in text(found)


@pytest.mark.shared_data
def test_which_signature_is_run_is_told_and_may_be_chosen(shared_data: Path) -> None:
    path = shared_data / "models/sensor/two_signatures.tflite"
    for signature, told in ((None, "add, the main graph is run"), ("multiply", "multiply is run")):
        with open_engine(path, signature=signature) as engine:
            found = guess(inspect_model(path), engine, Said(signature=signature))
        assert found.manifest.signature == signature
        assert found.notes[0] == f"2 signatures (add, multiply): {told}; --signature chooses another"


def test_the_order_of_a_detectors_outputs_is_taken_from_its_metadata(guessed: Any) -> None:
    answer = [tensor("d:3", 1), tensor("d:2", 1, 10), tensor("d:1", 1, 10), tensor("d:0", 1, 10, 4)]
    said = [
        TensorMetadata("number of detections", ""),
        TensorMetadata("score", "", score_threshold=0.3),
        TensorMetadata("category", "", label_files=("l.txt",)),
        TensorMetadata("location", "", boxes=BoxLayout("boundaries", (1, 0, 3, 2), "normalized")),
    ]
    found = guessed(
        [tensor("image", 1, 320, 320, 3, dtype=np.uint8)], answer, metadata=((), said), files={"l.txt": b"cat\n"}
    )
    assert (found.manifest.task, found.manifest.output.decoder) == ("detection", "ssd_postprocess")
    assert found.manifest.output.output_order == (3, 2, 1, 0)
    assert found.manifest.output.score_threshold == 0.3
    assert found.labels == ("cat",)
    assert "order of the outputs from the model's metadata: 3, 2, 1, 0" in text(found)
    assert "score threshold from the model's metadata: 0.3" in text(found)
    assert "not applied" not in text(found)


def test_what_of_the_metadata_is_not_applied_is_told(guessed: Any) -> None:
    answer = [tensor("d:0", 1, 10, 4), tensor("d:1", 1, 10), tensor("d:2", 1, 10), tensor("d:3", 1)]
    said = [
        TensorMetadata("location", "", boxes=BoxLayout("center", (), "pixels")),
        TensorMetadata("category", ""),
        TensorMetadata("score", "", calibrated=True),
        TensorMetadata("number of detections", ""),
    ]
    found = guessed([tensor("image", 1, 320, 320, 3)], answer, metadata=((), said))
    assert "the metadata's score calibration is not applied" in text(found)
    assert "layout of boxes (center, []) is not applied" in text(found)
    assert found.manifest.output.box_units == "pixels"


@pytest.mark.parametrize(
    ("given", "said", "expected", "note"),
    [
        (tensor("x", 1, 8, 8, 3), ((123.5,), (58.0,)), (123.5,), "from the model's metadata: mean 123.5, std 58"),
        (tensor("x", 1, 8, 8, 3), ((1.0,), (0.0,)), (127.5,), "normalization guessed"),
        (tensor("x", 1, 8, 8, 3), ((float("nan"),), (1.0,)), (127.5,), "normalization guessed"),
        (tensor("x", 1, 8, 8, 3, dtype=np.uint8, scale=1 / 127.5, zero_point=128), ((127.5,), (127.5,)), None, ""),
        (tensor("x", 1, 8, 8, 3, dtype=np.int8, scale=1 / 255, zero_point=-128), ((0.0,), (255.0,)), None, ""),
        (IMAGENET, ((123.7, 116.3, 103.5), (58.4, 57.1, 57.4)), (123.7, 116.3, 103.5), "from the model's metadata"),
        (IMAGENET, None, None, "that of no usual"),
        (tensor("x", 1, 8, 8, 3, dtype=np.uint8), None, None, ""),
        (tensor("x", 1, 8, 8, 3, dtype=np.int16, scale=1 / 32_768), None, (127.5,), "normalization guessed"),
    ],
)  # fmt: skip
def test_normalization_is_the_metadatas_unless_the_pixels_own_byte_comes_to_the_same(
    guessed: Any, given: TensorSpec, said: Any, expected: Any, note: str
) -> None:
    metadata = ([TensorMetadata("image", "", mean=said[0], std=said[1], content="image")], ()) if said else None
    found = guessed([given], [SCORES], metadata=metadata)
    assert found.manifest.input.mean == expected
    assert note in text(found)
    assert ("normalization" in text(found)) is bool(note)


@pytest.mark.parametrize(
    ("low", "high", "mean", "std"),
    [
        ((-1.0,), (1.0,), (127.5,), (127.5,)),
        ((0.0,), (1.0,), (0.0,), (255.0,)),
        ((1.0,), (1.0,), (127.5,), (127.5,)),  # no range: the usual guess
        ((0.0, 0.0), (1.0,), (127.5,), (127.5,)),
    ],
)
def test_a_range_in_the_metadata_tells_the_normalization_where_nothing_else_does(
    guessed: Any, low: Any, high: Any, mean: Any, std: Any
) -> None:
    metadata = ([TensorMetadata("image", "", content="image", low=low, high=high)], ())
    source = guessed([PICTURE], [SCORES], metadata=metadata).manifest.input
    assert (source.mean, source.std) == (mean, std)


@pytest.mark.parametrize(
    ("task", "answer", "expected", "decoder"),
    [
        ("detect", tensor("y", 1, 7, 8400), "detection", "yolov8"),
        ("pose", tensor("y", 1, 56, 8400), "detection", "yolov8"),
        ("classify", tensor("y", 1, 3), "classification", None),
        ("segment", tensor("y", 1, 39, 8400), "raw", None),
    ],
)
def test_an_export_of_ultralytics_says_what_it_does(
    guessed: Any, task: str, answer: TensorSpec, expected: str, decoder: str | None
) -> None:
    notes = str({"task": task, "names": {0: "a", 1: "b", 2: "c"}, "kpt_shape": [17, 3] if task == "pose" else None})
    found = guessed([tensor("x", 1, 640, 640, 3)], [answer], files={"temp_meta.txt": notes.encode()})
    assert (found.manifest.task, found.manifest.output.decoder) == (expected, decoder)
    assert found.manifest.output.keypoints == (COCO_KEYPOINTS if task == "pose" else ())
    assert found.labels == (() if expected == "raw" else ("a", "b", "c"))


def test_what_is_said_is_not_guessed(guessed: Any) -> None:
    found = guessed([PICTURE], [SCORES], Said(task="anomaly", kind="tensor"))
    assert (found.manifest.task, found.manifest.input) == ("anomaly", TensorInput())
    assert "guessed" not in text(found)
    assert guessed([tensor("x", 1, 96, 96, 1)], [SCORES], Said(window=96)).manifest.input == SignalInput(
        window=96, stride=96
    )
    assert guessed([PICTURE], [SCORES], Said(decoder="heatmap")).manifest.task == "pose"
    assert guessed([PICTURE], [SCORES], Said(decoder="yolov5")).manifest.output.decoder == "yolov5"
    assert guessed([PICTURE], [tensor("y", 1, 84, 8400)], Said(task="raw")).manifest.output.decoder is None


def test_several_inputs_are_plain_numbers_by_name(guessed: Any) -> None:
    found = guessed([PICTURE, tensor("age", 1, 1)], [SCORES], operators=["SOFTMAX"])
    assert (found.manifest.input, found.manifest.task) == (TensorInput(), "classification")
    assert "2 inputs (image float32[1,224,224,3], age float32[1,1]): give them by name" in text(found)


def test_labels_that_do_not_fit_are_left_out_and_told(guessed: Any) -> None:
    found = guessed([PICTURE], [SCORES], files={"labels.txt": b"a\nb\n"})
    assert found.labels == ()
    assert "labels in the model are not used: 2 for 10 classes" in text(found)
    assert isinstance(found.manifest.input, ImageInput)
