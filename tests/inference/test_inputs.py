"""What people give to `edge-agent infer` becomes the model's inputs, or is told why not."""

import io
import json
import wave
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from edge_agent.errors import EdgeError, InputError
from edge_agent.inference.frame import Frame, Unusable
from edge_agent.inference.model import Model, assemble
from edge_agent.inference.oneshot import OneShot, infer_all
from edge_agent.inference.opening import Options, Running, open_any
from edge_agent.inference.shots import Reading
from edge_agent.inference.values import are_stored, by_name, parse_line
from edge_agent.release.inputs import AudioInput, ImageInput, InputSpec, SignalInput, TensorInput
from edge_agent.release.manifest import FileEntry, Manifest
from edge_agent.release.outputs import OutputSpec
from edge_agent.transform.tensor import Array, TensorSpec
from tests.sim.engine import FakeEngine
from tests.sim.model_file import tensor

STDIN = Path("-")
RUNNING_SUM = Path(__file__).parent / "models/running_sum.tflite"


class Seen:
    """A model that gives back what it is fed."""

    def __init__(self, spec: InputSpec, *inputs: TensorSpec, **manifest: Any) -> None:
        self.fed: list[list[Array]] = []
        outputs = [TensorSpec(f"{one.name}_out", one.shape, one.dtype) for one in inputs]
        engine = FakeEngine(inputs, outputs, self._answer)
        made = Manifest(
            "seen", "1", "raw", spec, {"model.tflite": FileEntry("0" * 64, 1)}, "", OutputSpec(), **manifest
        )
        self.model: Model = assemble(made, (), engine)

    def _answer(self, arrays: Sequence[Array]) -> Sequence[Array]:
        self.fed.append([array.copy() for array in arrays])
        return arrays

    def give(self, *paths: Path, reading: Reading = Reading(), say: Any = lambda _: None) -> list[OneShot]:  # noqa: B008
        return list(infer_all(self.model, paths, reading, say))


def write_wav(path: Path, samples: np.ndarray, rate_hz: int) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes((samples * 32_767).astype("<i2").tobytes())
    return path


def typed(monkeypatch: pytest.MonkeyPatch, *lines: object) -> None:
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    monkeypatch.setattr("sys.stdin", io.StringIO(text))


# --- pictures -----------------------------------------------------------------------------------------------------


@pytest.fixture
def quarters(tmp_path: Path) -> Path:
    """Red, green over blue, white."""
    picture = Image.new("RGB", (40, 20))
    for color, box in (("red", (0, 0)), ("lime", (20, 0)), ("blue", (0, 10)), ("white", (20, 10))):
        picture.paste(color, (*box, box[0] + 20, box[1] + 10))
    picture.save(tmp_path / "quarters.png")
    return tmp_path / "quarters.png"


@pytest.mark.parametrize(
    ("reading", "first_pixel"),
    [
        (Reading(), (255, 0, 0)),
        (Reading(roi=(0.5, 0.0, 1.0, 0.5)), (0, 255, 0)),
        (Reading(roi=(0.0, 0.5, 0.5, 1.0)), (0, 0, 255)),
        (Reading(rotate_deg=90), (0, 0, 255)),
        (Reading(rotate_deg=90, roi=(0.5, 0.5, 1.0, 1.0)), (0, 255, 0)),
        (Reading(rotate_deg=180), (255, 255, 255)),
    ],
)
def test_a_region_is_cut_out_of_the_picture_as_it_was_turned(
    quarters: Path, reading: Reading, first_pixel: tuple[int, ...]
) -> None:
    seen = Seen(ImageInput(resample="nearest"), tensor("x", 1, 8, 8, 3, dtype=np.uint8))
    seen.give(quarters, reading=reading)
    assert tuple(seen.fed[0][0][0, 0, 0]) == first_pixel


def test_shares_are_of_the_picture_as_its_camera_meant_it(tmp_path: Path, quarters: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by 90 degrees
    with Image.open(quarters) as picture:
        picture.save(tmp_path / "turned.png", exif=exif)
    seen = Seen(ImageInput(resample="nearest"), tensor("x", 1, 8, 8, 3, dtype=np.uint8))
    seen.give(tmp_path / "turned.png", reading=Reading(roi=(0.5, 0.0, 1.0, 0.5)))
    assert tuple(seen.fed[0][0][0, 0, 0]) == (255, 0, 0)


@pytest.mark.parametrize("roi", [(0.5, 0.0, 0.5, 1.0), (0.0, 0.0, 1.1, 1.0), (-0.1, 0.0, 1.0, 1.0)])
def test_a_region_that_is_none_is_refused(roi: tuple[float, float, float, float]) -> None:
    with pytest.raises(InputError, match="expected shares"):
        Reading(roi=roi)


def test_a_folder_is_all_its_files_and_the_bad_ones_are_told_at_the_end(tmp_path: Path, quarters: Path) -> None:
    (tmp_path / "0.txt").write_text("no picture")
    (tmp_path / ".hidden").write_text("")
    (tmp_path / "empty").mkdir()
    seen = Seen(ImageInput(), tensor("x", 1, 8, 8, 3, dtype=np.uint8))
    with pytest.raises(InputError) as caught:
        seen.give(tmp_path, tmp_path / "empty")
    assert len(seen.fed) == 1
    assert "0.txt is not a picture" in str(caught.value)
    assert f"{tmp_path / 'empty'} holds no files" in str(caught.value)
    assert "hidden" not in str(caught.value)


def test_what_only_looks_like_a_video_is_told(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="needs PyAV, the extra `video`")
    (tmp_path / "film.bin").write_bytes(b"\x00\x00\x00\x20ftypisom" + bytes(100))
    seen = Seen(ImageInput(), tensor("x", 1, 8, 8, 3, dtype=np.uint8))
    with pytest.raises(InputError, match=r"film\.bin cannot be opened as a video"):
        seen.give(tmp_path / "film.bin")


def test_frames_of_a_damaged_video_are_counted_and_the_others_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = Image.new("RGB", (8, 8))
    frames = iter([Frame("0", 0.0, picture), Unusable("1", "cut off"), Unusable("2", "gray"), Frame("3", 0.0, picture)])
    (tmp_path / "damaged.mp4").touch()
    source = SimpleNamespace(take=lambda _: next(frames, None))
    monkeypatch.setattr("edge_agent.inference.inputs.new_source", lambda *_: nullcontext(source))
    seen, said = Seen(ImageInput(), tensor("x", 1, 8, 8, 3, dtype=np.uint8)), []  # type: ignore[var-annotated]
    with pytest.raises(InputError, match=r"damaged\.mp4: 2 frames left out; the first: cut off"):
        seen.give(tmp_path / "damaged.mp4", say=said.append)
    assert len(seen.fed) == 2
    assert said == ["left out: cut off"]


def test_the_path_of_a_picture_that_is_cut_off_is_said_once(tmp_path: Path) -> None:
    Image.effect_noise((64, 64), 90).save(tmp_path / "whole.jpg")
    path = tmp_path / "trunc.jpg"
    path.write_bytes((tmp_path / "whole.jpg").read_bytes()[:900])
    with pytest.raises(InputError, match=r"trunc\.jpg cannot be decoded") as caught:
        Seen(ImageInput(), tensor("x", 1, 8, 8, 3, dtype=np.uint8)).give(path)
    assert str(caught.value).count("trunc.jpg") == 1


# --- sound --------------------------------------------------------------------------------------------------------


def test_sound_is_cut_into_windows_and_another_rate_is_made_the_models(tmp_path: Path) -> None:
    spec = AudioInput(sample_rate_hz=8_000, window=4_000, stride=2_000)
    sound = np.sin(np.linspace(0, 2_000, 16_000)) / 2
    said: list[str] = []
    seen = Seen(spec, tensor("x", 1, 4_000))
    shots = seen.give(write_wav(tmp_path / "a.wav", sound, 16_000), say=said.append)
    assert [shot.input.rpartition("/")[2] for shot in shots] == ["a.wav#0", "a.wav#1", "a.wav#2"]
    assert said == ["sound of 16000 Hz is resampled to the 8000 Hz that the model takes"]
    assert np.array_equal(seen.fed[0][0][0, 2_000:], seen.fed[1][0][0, :2_000])


def test_a_file_of_sound_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"RIFF....WAVE")
    seen = Seen(AudioInput(window=16), tensor("x", 1, 16))
    with pytest.raises(InputError, match=r"a\.wav"):
        seen.give(tmp_path / "a.wav")
    assert seen.fed == []


def test_features_may_be_given_instead_of_sound(tmp_path: Path) -> None:
    spec = AudioInput(features="mfcc", bins=3, frame=480, hop=320, window=1_120)
    (tmp_path / "features.csv").write_text("1.5,2,3\n4,5,6\n7,8,9\n")
    np.save(tmp_path / "features.npy", np.arange(9.0).reshape(3, 3))
    seen = Seen(spec, tensor("x", 1, 3, 3, 1))
    seen.give(tmp_path / "features.csv", tmp_path / "features.npy")
    assert seen.fed[0][0].reshape(-1).tolist() == [1.5, 2, 3, 4, 5, 6, 7, 8, 9]
    assert seen.fed[1][0].reshape(-1).tolist() == list(range(9))
    (tmp_path / "short.csv").write_text("1,2,3\n")
    with pytest.raises(InputError, match=r"short\.csv holds 3 values \(1x3\); the model takes 9"):
        seen.give(tmp_path / "short.csv")


@pytest.mark.parametrize(
    ("values", "stored"),
    [
        ([-128.0, 0.0, 127.0], True),  # real ones are 0 to 25.5
        ([0.0, 5.0, 25.0], False),  # may be either
        ([0.5, -3.0, 100.0], False),  # not whole
        ([-129.0, 0.0, 0.0], False),  # beyond the dtype
    ],
)
def test_stored_features_are_known_by_what_cannot_be_real(tmp_path: Path, values: list[float], stored: bool) -> None:  # noqa: FBT001
    of_int8 = tensor("x", 1, 3, dtype=np.int8, scale=0.1, zero_point=-128)
    assert are_stored(np.array(values), of_int8) is stored
    assert not are_stored(np.array(values), tensor("x", 1, 3))
    spec = AudioInput(features="mfcc", bins=3, frame=480, hop=320, window=480)
    said: list[str] = []
    seen = Seen(spec, of_int8)
    (tmp_path / "features.csv").write_text(",".join(map(str, values)))
    seen.give(tmp_path / "features.csv", say=said.append)
    assert bool(said) is stored
    assert (seen.fed[0][0].reshape(-1).tolist() == values) is stored


# --- rows and plain values ----------------------------------------------------------------------------------------


def test_rows_for_a_window_come_as_csv_npy_or_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]]
    (tmp_path / "rows.csv").write_text("b,a\n" + "\n".join(f"{b},{a}" for a, b in rows))
    np.save(tmp_path / "rows.npy", np.array(rows))
    typed(monkeypatch, *({"b": b, "a": a, "more": 9} for a, b in rows))
    seen = Seen(SignalInput(channels=("a", "b"), window=2, stride=2), tensor("x", 1, 2, 2))
    shots = seen.give(tmp_path / "rows.csv", tmp_path / "rows.npy", STDIN)
    assert [fed[0].reshape(-1).tolist() for fed in seen.fed] == [[1, 2, 3, 4], [5, 6, 7, 8]] * 3
    assert [shot.input for shot in shots][-2:] == ["stdin#0", "stdin#1"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([{"a": 1}], "stdin:1 has no b"),
        (["[1, 2"], "stdin:1: expected a JSON list of numbers"),
        ([[1, 2], [3, "x"]], "stdin:2: expected a JSON list"),
        ([[1, float("nan")]], "stdin:1: expected a JSON list"),
        ([[[1, 2], [3, 4]]], "window needs"),
        ([{"a": [1, 2], "b": 1}], "stdin:1: expected"),
        ([], "fewer rows than the 2 of one window"),
    ],
)
def test_lines_that_are_no_rows_are_told(monkeypatch: pytest.MonkeyPatch, lines: list[Any], message: str) -> None:
    typed(monkeypatch, *lines, *(lines if "window needs" in message else ()))
    seen = Seen(SignalInput(channels=("a", "b"), window=2, stride=2), tensor("x", 1, 2, 2))
    with pytest.raises(EdgeError, match=message):
        seen.give(STDIN)
    assert seen.fed == []


@pytest.mark.parametrize(
    "spec", [SignalInput(channels=("a", "b"), window=1, stride=1), TensorInput(channels=("a", "b"))]
)
def test_a_bad_row_is_left_out_and_told_and_the_others_are_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: InputSpec
) -> None:
    (tmp_path / "rows.csv").write_text("a,b\n1,2\nnan,4\n5\n7,8\n")
    typed(monkeypatch, [1, 2], "{broken", [7, 8])
    seen, said = Seen(spec, tensor("x", 1, 1, 2)), []  # type: ignore[var-annotated]
    with pytest.raises(InputError) as caught:
        seen.give(tmp_path / "rows.csv", STDIN, say=said.append)
    assert [fed[0].reshape(-1).tolist() for fed in seen.fed] == [[1, 2], [7, 8]] * 2
    assert "rows.csv: 2 rows left out; the first: " in str(caught.value)
    assert "stdin: 1 line left out; the first: stdin:2" in str(caught.value)
    assert len(said) == 2
    assert "rows.csv:3: expected a number, found 'nan'" in said[0]


def test_a_vector_over_several_lines_has_no_line_to_spare(tmp_path: Path) -> None:
    (tmp_path / "column.csv").write_text("1\n2\nnan\n")
    seen = Seen(TensorInput(), tensor("x", 1, 2))
    with pytest.raises(InputError, match="1 row left out"):
        seen.give(tmp_path / "column.csv")
    assert seen.fed == []


def test_several_inputs_come_by_name_or_as_one_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "one.npz", age=np.array([3.0]), x=np.array([1.0, 2.0]))
    np.savez(tmp_path / "two.npz", x=np.arange(4.0).reshape(2, 2), age=np.array([8.0, 9.0]))
    (tmp_path / "row.csv").write_text("1,2,3\n4,5,6\n")
    typed(monkeypatch, {"age": 7, "x": [5, 6]}, [1, 2, 3])
    seen = Seen(TensorInput(), tensor("serving_default_x:0", 1, 2), tensor("age", 1, 1))
    seen.give(tmp_path / "one.npz", tmp_path / "two.npz", tmp_path / "row.csv", STDIN)
    found = [[array.reshape(-1).tolist() for array in fed] for fed in seen.fed]
    assert found == [
        [[1, 2], [3]],
        [[0, 1], [8]],
        [[2, 3], [9]],
        [[1, 2], [3]],
        [[4, 5], [6]],
        [[5, 6], [7]],
        [[1, 2], [3]],
    ]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros(2)}, "has no values for age float32[1,1]; it has x"),
        ({"x": np.zeros(3), "age": np.zeros(1)}, "one vector for each input"),
        ({"x": np.zeros((2, 2)), "age": np.zeros(3)}, "holds 4 for x"),
        ({"x": np.array(["a"]), "age": np.zeros(1)}, "holds 1 for x"),
    ],
)
def test_arrays_that_do_not_fit_are_told(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)  # type: ignore[arg-type]  # numpy's stub takes every keyword for allow_pickle
    seen = Seen(TensorInput(), tensor("x", 1, 2), tensor("age", 1, 1))
    with pytest.raises(InputError) as caught:
        seen.give(tmp_path / "a.npz")
    assert seen.fed == []
    assert message in f"{caught.value}; {caught.value.hint}"


def test_a_broken_npz_and_pictures_on_standard_input_are_told(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 not a zip")
    with pytest.raises(InputError, match=r"is not a \.npz file"):
        Seen(TensorInput(), tensor("x", 1, 2)).give(tmp_path / "a.npz")
    with pytest.raises(InputError, match="takes pictures"):
        Seen(ImageInput(), tensor("x", 1, 8, 8, 3, dtype=np.uint8)).give(STDIN)


@given(content=st.binary(max_size=200), suffix=st.sampled_from([".npz", ".npy"]), magic=st.booleans())
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_file_of_arrays_is_values_or_told(tmp_path: Path, content: bytes, suffix: str, magic: bool) -> None:  # noqa: FBT001
    path = tmp_path / f"a{suffix}"
    path.write_bytes((b"\x93NUMPY\x01\x00" if suffix == ".npy" else b"PK\x03\x04") * magic + content)
    with pytest.raises(EdgeError):
        Seen(TensorInput(), tensor("x", 1, 997)).give(path)


def test_a_model_that_remembers_begins_anew_with_every_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("1,1,1\n1,1,1\n")
    model, notes = open_any(RUNNING_SUM)
    with model:
        values = [[one.value for one in shot.results] for shot in infer_all(model, [tmp_path / "a.csv"] * 2)]
    assert values == [[1, 1], [2, 2], [1, 1], [2, 2]]
    assert any("state guessed" in note for note in notes)


TREES = st.recursive(
    st.none() | st.floats() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


@given(line=st.text(max_size=60) | TREES.map(json.dumps))
@settings(max_examples=300, deadline=None)
def test_any_line_is_values_or_told(line: str) -> None:
    for columns in ((), ("a",)):
        try:
            found = parse_line(line, "stdin:1", columns)
        except InputError:
            continue
        arrays = found.values() if isinstance(found, dict) else [found]
        assert all(np.isfinite(array).all() for array in arrays)


def test_one_array_needs_no_name() -> None:
    assert by_name({"whatever": np.ones(2)}, [tensor("x", 1, 2)], "a.npz")[0].tolist() == [1, 1]


# --- opening ------------------------------------------------------------------------------------------------------


@pytest.mark.shared_data
def test_every_option_reaches_what_it_is_about(shared_data: Path) -> None:
    detector = shared_data / "models/detection/coco_ssd_mobilenet_v1_no_metadata.tflite"
    options = Options(iou=0.3, threshold=0.2, top_k=3, background_class=4, decode="reduced", decoder="ssd_postprocess")
    model, notes = open_any(detector, options)
    with model:
        output, source = model.manifest.output, model.manifest.input
        assert (output.iou_threshold, output.score_threshold, output.top_k, output.background_class) == (0.3, 0.2, 3, 4)
        assert isinstance(source, ImageInput)
        assert source.decode == "reduced"
        assert not any("objects below" in note or "decoder guessed" in note for note in notes)
    keywords = shared_data / "models/audio/kws_dscnn_float.tflite"
    model, _ = open_any(keywords, Options(features="log_mel", sample_rate=8_000, stride=100, activation="sigmoid"))
    with model:
        sound = model.manifest.input
        assert isinstance(sound, AudioInput)
        assert (sound.features, sound.bins, sound.sample_rate_hz, sound.stride) == ("log_mel", 10, 8_000, 100)
        assert model.manifest.output.activation == "sigmoid"


@pytest.mark.shared_data
def test_a_note_about_a_guess_is_dropped_where_somebody_has_said_it(shared_data: Path) -> None:
    fruit = shared_data / "models/classification/tm_fruit_v1.tflite"
    for options, told in ((Options(), True), (Options(mean=(0.0,), std=(255.0,)), False)):
        model, notes = open_any(fruit, options)
        with model:
            assert any("normalization guessed" in note for note in notes) is told


@pytest.mark.shared_data
def test_labels_of_the_model_are_not_told_where_others_are_given(shared_data: Path, tmp_path: Path) -> None:
    detector = shared_data / "models/detection/coco_ssd_mobilenet_v1_metadata.tflite"
    (tmp_path / "labels.txt").write_text("cat\ndog\n")
    for options, told in ((Options(), True), (Options(labels=tmp_path / "labels.txt"), False)):
        model, notes = open_any(detector, options)
        with model:
            assert any("labels from the model's metadata" in note for note in notes) is told


@pytest.mark.shared_data
def test_threads_may_be_measured_and_what_came_of_it_is_said(
    shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for cores, reason in (
        (1, "for there is one usable core"),
        (2, "measured at 30 invokes a second, median by threads"),
    ):
        monkeypatch.setattr("edge_agent.inference.tflite.usable_cores", lambda _, cores=cores: cores)
        model, notes = open_any(shared_data / "models/sensor/sine_float.tflite", running=Running("auto"))
        with model:
            report = model.engine.report
        assert (report.measured is None) is (cores == 1)
        said = [note for note in notes if note.startswith("threads")]
        assert len(said) == 1
        assert said[0].startswith(f"threads auto: {report.threads} chosen, {reason}")
    _, notes = open_any(shared_data / "models/sensor/sine_float.tflite")
    assert not any(note.startswith("threads") for note in notes)
