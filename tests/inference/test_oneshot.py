"""One model, a few inputs: what is guessed is said, and what a person says wins."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge_agent.errors import ArtifactError, InputError, ModelError, Reason
from edge_agent.inference.oneshot import OneShot, infer, infer_all
from edge_agent.inference.opening import Options, open_any
from edge_agent.release.inputs import AudioInput, ImageInput, SignalInput, TensorInput
from tests.sim.artifact import make_members, pack

MOBILENET = "models/classification/mobilenet_v2_1.0_224_quant.tflite"
HAR = "models/sensor/har_qcnn_8x8x8.tflite"
MNIST = "models/classification/mnist_conv_fc_float.tflite"
pytestmark = pytest.mark.shared_data


def test_a_result_is_the_object_that_the_readme_promises(shared_data: Path) -> None:
    path = shared_data / "images/pets.jpg"
    model, notes = open_any(shared_data / "models/detection/coco_ssd_mobilenet_v1_metadata.tflite")
    with model:
        tree = json.loads(json.dumps([shot.to_json() for shot in infer(model, path)]))
    assert len(tree) == 1
    assert list(tree[0]) == ["input", "task", "results", "latency_ms"]
    assert tree[0]["input"] == str(path)
    assert tree[0]["task"] == "detection"
    assert [result["label"] for result in tree[0]["results"]] == ["dog", "dog"]
    assert set(tree[0]["results"][0]) == {"label", "index", "score", "box"}
    assert list(tree[0]["latency_ms"]) == ["capture", "preprocess", "invoke", "postprocess"]
    assert all(value >= 0 for value in tree[0]["latency_ms"].values())
    assert any("0.5" in note for note in notes)


@pytest.mark.parametrize(
    ("name", "kind", "task"),
    [
        (MOBILENET, ImageInput, "classification"),
        (MNIST, ImageInput, "classification"),
        ("models/classification/cifar10_resnet8_int8.tflite", ImageInput, "classification"),
        ("models/detection/coco_ssd_mobilenet_v1_no_metadata.tflite", ImageInput, "detection"),
        (HAR, SignalInput, "signal_classification"),
        ("models/audio/kws_dscnn_int8.tflite", AudioInput, "audio_classification"),
        ("models/audio/micro_speech_quantized.tflite", AudioInput, "audio_classification"),
        ("models/sensor/sine_float.tflite", TensorInput, "regression"),
        ("models/pose/movenet_single_pose_lightning_ptq.tflite", ImageInput, "pose"),
        ("models/segmentation/deeplabv3_mnv2_dm05_pascal_quant.tflite", ImageInput, "segmentation"),
    ],
)
def test_what_a_bare_model_takes_and_gives_is_guessed_and_said(
    shared_data: Path, name: str, kind: type, task: str
) -> None:
    model, notes = open_any(shared_data / name)
    with model:
        assert isinstance(model.manifest.input, kind)
        assert model.manifest.task == task
    assert any("task guessed" in note for note in notes)


def test_a_guessed_normalization_is_said_and_one_from_metadata_is_used(shared_data: Path) -> None:
    guessed, notes = open_any(shared_data / "models/classification/tm_fruit_v1.tflite")
    assert isinstance(guessed.manifest.input, ImageInput)
    assert guessed.manifest.input.mean == (127.5,)
    assert any("normalization guessed" in note for note in notes)
    known, notes = open_any(shared_data / "models/classification/mobilenet_v1_0.25_224_1_metadata_1.tflite")
    assert any("metadata: mean 127.5" in note for note in notes)
    assert known.labels[286] == "Egyptian cat"


def test_pictures_are_decoded_in_full(shared_data: Path) -> None:
    model, _ = open_any(shared_data / MOBILENET)
    assert isinstance(model.manifest.input, ImageInput)
    assert model.manifest.input.decode == "full"


def test_options_win_over_guesses(shared_data: Path, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("".join(f"class {index}\n" for index in range(1001)))
    options = Options(
        labels=tmp_path / "names.txt", fit="letterbox", resample="box", mean=(1.0,), std=(2.0,), top_k=2, threshold=0.01
    )
    model, _ = open_any(shared_data / MOBILENET, options)
    with model:
        assert isinstance(model.manifest.input, ImageInput)
        assert (model.manifest.input.fit, model.manifest.input.resample) == ("letterbox", "box")
        assert (model.manifest.input.mean, model.manifest.input.std) == ((1.0,), (2.0,))
    model, _ = open_any(shared_data / MOBILENET, Options(labels=tmp_path / "names.txt", top_k=2, threshold=0.01))
    with model:
        shot = next(infer(model, shared_data / "images/cat.bmp"))
        assert [prediction.label for prediction in shot.results] == ["class 286", "class 282"]


def test_task_and_input_may_be_stated(shared_data: Path) -> None:
    model, notes = open_any(shared_data / MOBILENET, Options(task="raw"))
    with model:
        assert isinstance(model.manifest.input, ImageInput)
        assert model.manifest.task == "raw"
        assert not any("task guessed" in note for note in notes)
    model, _ = open_any(shared_data / MOBILENET, Options(task="raw", input_kind="tensor"))
    with model:
        assert isinstance(model.manifest.input, TensorInput)


def test_a_wrong_label_file_is_refused_with_both_numbers(shared_data: Path) -> None:
    with pytest.raises(ModelError, match="1001 classes; there are 965") as caught:
        open_any(shared_data / MOBILENET, Options(labels=shared_data / "labels/inat_bird_labels.txt"))
    assert caught.value.reason is Reason.LABELS_MISMATCH


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (Options(mean=(1.0,)), "mean and std"),
        (Options(window=10), "window of 10 rows"),
        (Options(stride=10), "--stride does not fit"),
        (Options(labels=Path("gone.txt")), r"gone\.txt"),
    ],
)
def test_options_that_do_not_fit_are_told(shared_data: Path, options: Options, message: str) -> None:
    with pytest.raises((InputError, ModelError), match=message) as caught:
        open_any(shared_data / MOBILENET, options)
    assert caught.value.hint


def test_a_label_file_that_is_a_picture_is_told(shared_data: Path) -> None:
    with pytest.raises(InputError, match=r"cat\.bmp"):
        open_any(shared_data / MOBILENET, Options(labels=shared_data / "images/cat.bmp"))


def test_an_artifact_is_opened_as_its_manifest_says_and_leaves_nothing_behind(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    members = make_members(
        (shared_data / MNIST).read_bytes(),
        source=ImageInput(color="gray", mean=(0.0,), std=(255.0,)),
        labels=b"".join(b"digit %d\n" % digit for digit in range(10)),
    )
    pack(members, tmp_path / "renamed.bin")
    for path in (pack(members, tmp_path / "mnist-1.0.0.edge"), tmp_path / "renamed.bin"):
        model, notes = open_any(path, Options(top_k=1))
        with model:
            shots = list(infer_all(model, [shared_data / f"images/mnist/sample{digit}.png" for digit in range(5)]))
        assert [[prediction.label for prediction in shot.results] for shot in shots] == [
            [f"digit {n}"] for n in range(5)
        ]
        assert notes == []
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_damaged_artifact_is_an_artifact_error(shared_data: Path, tmp_path: Path) -> None:
    path = pack(make_members((shared_data / MNIST).read_bytes()), tmp_path / "a.edge")
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ArtifactError) as caught:
        open_any(path)
    assert caught.value.reason is Reason.INTEGRITY


def test_every_usable_input_is_answered_before_the_bad_ones_are_told(shared_data: Path, tmp_path: Path) -> None:
    (tmp_path / "page.jpg").write_text("<html>")
    model, _ = open_any(shared_data / MOBILENET)
    inputs = [tmp_path / "page.jpg", shared_data / "images/cat.bmp", tmp_path / "gone.jpg", tmp_path]
    answered: list[str] = []
    with model, pytest.raises(InputError) as caught:
        answered.extend(shot.input for shot in infer_all(model, inputs))
    assert answered == [str(shared_data / "images/cat.bmp")]
    for word in ("page.jpg is not a picture", "gone.jpg", str(tmp_path)):
        assert word in str(caught.value)


def test_a_recording_gives_one_result_a_window(shared_data: Path) -> None:
    path = shared_data / "sensor/har/1_walking/log_0.csv"
    model, _ = open_any(shared_data / HAR)
    with model:
        shots = list(infer(model, path))
    assert len(shots) == 29
    assert shots[0].input == f"{path}#0"
    assert {shot.results[0].index for shot in shots} == {1}
    model, _ = open_any(shared_data / HAR, Options(stride=26))
    with model:
        assert len(list(infer(model, path))) == (1553 - 52) // 26 + 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no rows"),
        ("x,y,z\n1,2,3\n", "fewer rows than the 52"),
        ("x,y\n" + "1,2\n" * 60, "3 channels"),
        ("x,y,z\n1,2,three\n", r"log\.csv:2: expected a number, found 'three'"),
    ],
)
def test_a_recording_that_does_not_fit_is_told(shared_data: Path, tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "log.csv").write_text(content)
    model, _ = open_any(shared_data / HAR)
    with model, pytest.raises(InputError, match=message):
        list(infer_all(model, [tmp_path / "log.csv"]))


def test_a_picture_for_a_signal_model_is_told(shared_data: Path) -> None:
    model, _ = open_any(shared_data / HAR)
    with model, pytest.raises(InputError, match=r"cat\.bmp"):
        list(infer_all(model, [shared_data / "images/cat.bmp"]))


def test_numbers_are_taken_from_npy_and_csv_one_vector_or_one_a_row(shared_data: Path, tmp_path: Path) -> None:
    x = np.linspace(0, 2 * np.pi, 100)
    np.save(tmp_path / "x.npy", x.reshape(100, 1))
    (tmp_path / "x.csv").write_text("\n".join(map(str, x)))
    (tmp_path / "one.csv").write_text("x\n1.5708\n")
    model, _ = open_any(shared_data / "models/sensor/sine_float.tflite")
    with model:
        for name in ("x.npy", "x.csv"):
            found = np.array([shot.results[0].value for shot in infer(model, tmp_path / name)])
            assert np.abs(found - np.sin(x)).max() == pytest.approx(0.0421, abs=0.002)
        shots = list(infer(model, tmp_path / "one.csv"))
        assert [shot.input for shot in shots] == [str(tmp_path / "one.csv")]
        assert shots[0].results[0].value == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("content", [np.zeros((2, 2)), np.array(["a"]), np.array([None], dtype=object)])
def test_numbers_that_do_not_fit_are_told(shared_data: Path, tmp_path: Path, content: np.ndarray) -> None:
    np.save(tmp_path / "x.npy", content, allow_pickle=True)
    model, _ = open_any(shared_data / "models/sensor/sine_float.tflite")
    with model, pytest.raises(InputError):
        list(infer_all(model, [tmp_path / "x.npy"]))


def test_a_result_can_be_read_by_a_person(shared_data: Path) -> None:
    model, _ = open_any(shared_data / MOBILENET)
    with model:
        text = str(next(infer(model, shared_data / "images/cat.bmp")))
    assert "cat.bmp" in text.splitlines()[0]
    assert text.splitlines()[1].split(None, 1)[1] == "Egyptian cat"


def test_each_input_that_cannot_be_used_is_named(shared_data: Path, tmp_path: Path) -> None:
    content = (shared_data / "images/burger.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(content[: len(content) // 2])
    (tmp_path / "text.jpg").write_text("no picture")
    model, _ = open_any(shared_data / MOBILENET)
    shots: list[OneShot] = []
    named = r"(?s)cut\.jpg cannot be decoded: .*truncated.*text\.jpg is not a picture"
    with model, pytest.raises(InputError, match=named):
        shots += infer_all(model, [tmp_path / "cut.jpg", shared_data / "images/cat.bmp", tmp_path / "text.jpg"])
    assert [Path(shot.input).name for shot in shots] == ["cat.bmp"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (Options(mean=(float("nan"),), std=(1.0,)), "must be finite"),
        (Options(labels=Path("/dev/null")), "holds no labels"),
    ],
)
def test_options_that_say_nothing_are_refused(shared_data: Path, options: Options, words: str) -> None:
    with pytest.raises(InputError, match=words):
        open_any(shared_data / MOBILENET, options)


def test_a_picture_of_another_mode_and_size_is_taken(shared_data: Path, tmp_path: Path) -> None:
    with Image.open(shared_data / "images/cat.bmp") as picture:
        picture.convert("RGBA").save(tmp_path / "cat.png")
    model, _ = open_any(shared_data / MOBILENET)
    with model:
        one, other = infer_all(model, [tmp_path / "cat.png", shared_data / "images/cat.bmp"])
    assert one.results == other.results
