"""Representative data: every problem is found before anything is converted."""

import wave
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from converter.calibrate import collect_samples
from converter.dataset import open_dataset
from converter.errors import CalibrationError
from converter.samples import Dataset, Seeded, spread
from edge_agent.release.inputs import AudioInput, ImageInput, InputSpec, SignalInput, TensorInput
from edge_agent.transform.audio import AudioTransform
from edge_agent.transform.image import ImageTransform, read_image
from edge_agent.transform.tensor import Array, Quantization, TensorSpec
from edge_agent.transform.wav import read_wav
from tests.converter.conftest import Digits

GRAY = ImageInput(color="gray", mean=(0.0,), std=(255.0,))
PICTURE = TensorSpec("image", (1, 32, 32, 1), np.dtype(np.float32))
ROWS = TensorSpec("rows", (1, 4, 2), np.dtype(np.float32))
SIGNAL = SignalInput(channels=("left", "right"), window=4, stride=4)


def opened(path: Path, spec: InputSpec, tensor: TensorSpec, *, limit: int = 100, skip: bool = False) -> Dataset:
    return open_dataset(path, spec, [tensor], input_names=[tensor.name], limit=limit, skip_unreadable=skip)


# --- pictures ---------------------------------------------------------------------------------------------------


def test_pictures_go_through_the_transform_of_the_device(digits: Digits) -> None:
    data = opened(digits.calibration, GRAY, PICTURE)
    files = sorted(digits.calibration.iterdir())
    assert data.names == tuple(file.name for file in files[: len(data.names)]) or len(files) > 100
    expected, _ = ImageTransform(GRAY, PICTURE).apply(read_image(digits.calibration / data.names[7]))
    assert np.array_equal(list(data.inputs([PICTURE]))[7][0], expected)


def test_the_same_pictures_feed_a_quantized_model(digits: Digits) -> None:
    tensor = TensorSpec("image", PICTURE.shape, np.dtype(np.int8), Quantization(1 / 255, -128))
    data = opened(digits.calibration, GRAY, PICTURE, limit=5)
    for real, stored in zip(data.inputs([PICTURE]), data.inputs([tensor]), strict=True):
        assert stored[0].dtype == np.int8
        assert np.abs((stored[0].astype(float) + 128) / 255 - real[0]).max() < 0.5 / 255 + 1e-6


def test_samples_are_spread_evenly_over_what_there_is() -> None:
    assert spread(10, 3) == [0, 3, 6]
    assert spread(3, 10) == [0, 1, 2]
    assert spread(0, 5) == []


def test_files_that_are_not_pictures_are_named_unless_they_are_to_be_skipped(tmp_path: Path) -> None:
    Image.effect_noise((40, 40), 50).save(tmp_path / "good.png")
    (tmp_path / "notes.txt").write_text("not a picture")
    cut = (tmp_path / "good.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(cut[: len(cut) // 2])
    (tmp_path / ".DS_Store").write_bytes(b"hidden files are passed over")
    with pytest.raises(CalibrationError, match="2 of 3 files") as caught:
        opened(tmp_path, GRAY, PICTURE)
    assert "notes.txt" in str(caught.value)
    assert "cut.png" in str(caught.value)
    assert "--skip-unreadable" in str(caught.value.hint)
    assert opened(tmp_path, GRAY, PICTURE, skip=True).names == ("good.png",)


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="holds no pictures"):
        opened(tmp_path, GRAY, PICTURE)
    with pytest.raises(CalibrationError, match="no such file"):
        opened(tmp_path / "missing", GRAY, PICTURE)
    with pytest.raises(CalibrationError, match=r"holds no \.csv"):
        opened(tmp_path, TensorInput(), ROWS)
    (tmp_path / "a.wav").write_bytes(b"")
    with pytest.raises(CalibrationError, match=r"needs a \.csv of rows, a folder of them, or a \.npz"):
        opened(tmp_path / "a.wav", TensorInput(), ROWS)


def test_the_digest_is_of_names_and_contents(tmp_path: Path) -> None:
    for folder, level in (("a", 10), ("b", 10), ("c", 11)):
        (tmp_path / folder).mkdir()
        Image.new("L", (40, 40), level).save(tmp_path / folder / "one.png")
    digests = [opened(tmp_path / folder, GRAY, PICTURE).digest for folder in "abc"]
    assert digests[0] == digests[1] != digests[2]


# --- rows -------------------------------------------------------------------------------------------------------


def test_windows_are_cut_from_each_file_of_a_folder(tmp_path: Path) -> None:
    for name, start in (("a.csv", 0), ("b.csv", 100)):
        rows = "".join(f"{start + row},{-row}\n" for row in range(10))
        (tmp_path / name).write_text(f"# a comment\nleft[mg],right[mg]\n{rows}")
    data = opened(tmp_path, SIGNAL, ROWS)
    assert data.names == ("a.csv#0", "a.csv#1", "b.csv#0", "b.csv#1")
    assert list(data.inputs([ROWS]))[2][0].tolist() == [[[100, 0], [101, -1], [102, -2], [103, -3]]]


def test_missing_columns_are_named_with_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("lefd,right\n1,2\n")
    with pytest.raises(CalibrationError, match=r"no column left \(did you mean lefd\?\)"):
        opened(tmp_path / "rows.csv", SIGNAL, ROWS)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("left,right\n1,2\n3,x\n", "line 3: expected a number, found 'x'"),
        ("left,right\n1,2\n3,nan\n", "line 3"),
        ("left,right\n1,2\n", "no whole window of 4 rows"),
        ("", "holds no rows"),
    ],
)
def test_rows_that_cannot_be_used_are_named(content: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(content)
    with pytest.raises(CalibrationError, match=words):
        opened(tmp_path / "rows.csv", SIGNAL, ROWS)


def test_what_is_no_text_is_named_and_its_hint_is_not_that_of_columns(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CalibrationError, match=r"rows\.csv: is not text") as caught:
        opened(tmp_path, SIGNAL, ROWS)
    assert "--skip-unreadable" in str(caught.value.hint)


# --- arrays -----------------------------------------------------------------------------------------------------


def test_the_only_array_of_an_npz_may_have_any_name(tmp_path: Path) -> None:
    values = np.arange(24, dtype=np.int16).reshape(3, 4, 2)
    np.savez(tmp_path / "x.npz", whatever=values)
    data = opened(tmp_path / "x.npz", TensorInput(), ROWS)
    samples = list(data.inputs([ROWS]))
    assert [sample[0].shape for sample in samples] == [(1, 4, 2)] * 3
    assert samples[1][0].dtype == np.float32
    assert samples[1][0][0].tolist() == values[1].tolist()


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"a": np.zeros((3, 4, 2)), "b": np.zeros((3, 4, 2))}, "the model also takes rows"),
        ({"rows": np.zeros((3, 2, 4))}, r"rows is \[3, 2, 4\]; the model takes \[samples, 4, 2\]"),
        ({"rows": np.zeros((4, 2))}, r"takes \[samples, 4, 2\]"),
        ({"rows": np.full((3, 4, 2), np.nan)}, "NaN"),
        ({"rows": np.zeros((0, 4, 2))}, "no samples"),
        ({"rows": np.zeros(())}, "takes"),
        ({"rows": np.array(["a"] * 3)}, "not numbers"),
    ],
)
def test_arrays_that_do_not_fit_are_named(arrays: dict[str, Array], words: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", **arrays)  # type: ignore[arg-type]  # the stub takes the names for allow_pickle
    with pytest.raises(CalibrationError, match=words):
        opened(tmp_path / "x.npz", TensorInput(), ROWS)


def test_bytes_of_pictures_go_through_the_transform_of_the_device(tmp_path: Path) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (3, 40, 48, 1), np.uint8)
    np.savez(tmp_path / "x.npz", image=pictures)
    expected, _ = ImageTransform(GRAY, PICTURE).apply(Image.fromarray(pictures[1, ..., 0]))
    assert np.array_equal(list(opened(tmp_path / "x.npz", GRAY, PICTURE).inputs([PICTURE]))[1][0], expected)


def test_arrays_of_pictures_that_are_normalized_otherwise_are_refused(tmp_path: Path) -> None:
    for low, high in ((0, 255), (0.0, 0.01)):
        np.savez(tmp_path / "x.npz", image=np.linspace(low, high, 3 * 1024).reshape(3, 32, 32, 1))
        with pytest.raises(CalibrationError, match="by its normalization the model takes 0 to 1"):
            opened(tmp_path / "x.npz", GRAY, PICTURE)
    np.savez(tmp_path / "x.npz", image=np.linspace(0, 1, 3 * 1024).reshape(3, 32, 32, 1))
    assert len(opened(tmp_path / "x.npz", GRAY, PICTURE).names) == 3


def test_annotations_and_masks_of_pictures_calibrate_nothing(tmp_path: Path) -> None:
    for name in ("a.png", "images/b.png", "masks/b.png", "a_mask.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.effect_noise((40, 40), 50).save(tmp_path / name)
    for name in ("a.txt", "a.xml", "annotations.json", "labels.csv", "data.yaml", "classes.txt"):
        (tmp_path / name).write_text("of no use here")
    assert opened(tmp_path, GRAY, PICTURE).names == ("a.png", "images/b.png")
    (tmp_path / "labels.csv").write_text("file,label\nimages/b.png,cat\n")
    assert opened(tmp_path / "labels.csv", GRAY, PICTURE).names == ("images/b.png",)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"\x93NUMPY", b"text"])
def test_a_broken_npz_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(CalibrationError, match=r"x\.npz is not a whole \.npz"):
        opened(tmp_path / "x.npz", TensorInput(), ROWS)


def test_pickles_are_never_loaded(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", rows=np.array([object()], dtype=object), allow_pickle=True)
    with pytest.raises(CalibrationError):
        opened(tmp_path / "x.npz", TensorInput(), ROWS)


# --- what would ruin a model ------------------------------------------------------------------------------------


def test_data_that_never_changes_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", rows=np.ones((60, 4, 2)))
    data = opened(tmp_path / "x.npz", TensorInput(), ROWS)
    with pytest.raises(CalibrationError, match="every calibration value for input rows is 1"):
        collect_samples(data, [ROWS])


def test_a_whole_number_that_never_changes_is_no_data_that_could_ruin_anything(tmp_path: Path) -> None:
    """The sample rate that a voice detector wants with each frame."""
    rate = TensorSpec("sr", (1,), np.dtype(np.int32))
    rows = np.random.default_rng(0).random((60, 4, 2), np.float32)
    np.savez(tmp_path / "x.npz", rows=rows, sr=np.full((60, 1), 16_000, np.int32))
    data = open_dataset(tmp_path / "x.npz", TensorInput(), [ROWS, rate], input_names=("rows", "sr"), limit=60)
    assert [sample[1].item() for sample in collect_samples(data, [ROWS, rate])] == [16_000] * 60


@pytest.mark.parametrize(("spec", "tensor"), [(GRAY, PICTURE), (SIGNAL, ROWS), (TensorInput(), ROWS)])
def test_made_up_inputs_are_the_same_every_time(spec: InputSpec, tensor: TensorSpec) -> None:
    first, second = (list(Seeded(3, spec).inputs([tensor])) for _ in range(2))
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(first, second, strict=True))
    assert first[0][0].shape == tensor.shape
    assert not np.array_equal(first[0][0], first[1][0])


# --- sound ------------------------------------------------------------------------------------------------------

SOUND = AudioInput(sample_rate_hz=8_000, window=800, stride=400, features="mfcc", frame=200, hop=100, fft=256, bins=5)
FEATURES = TensorSpec("features", (1, 7, 5), np.dtype(np.float32))


def write_wav(path: Path, count: int, rate_hz: int = 8_000) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes((np.sin(np.arange(count) / 7) * 9_000).astype("<i2").tobytes())


def test_sound_is_cut_and_turned_into_features_as_on_the_device(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", 1_600)
    write_wav(tmp_path / "b.wav", 500)
    write_wav(tmp_path / "c.wav", 1_600, rate_hz=16_000)
    (tmp_path / "notes.txt").write_text("passed over")
    data = opened(tmp_path, SOUND, FEATURES)
    assert data.names == ("a.wav#0", "a.wav#1", "a.wav#2", "b.wav#0", "c.wav#0")
    samples, _ = read_wav(tmp_path / "a.wav")
    expected = AudioTransform(SOUND, FEATURES).apply(samples[400:1_200])
    assert np.array_equal(list(data.inputs([FEATURES]))[1][0], expected)
    assert opened(tmp_path / "b.wav", SOUND, FEATURES).names == ("b.wav#0",)


def test_recordings_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match=r"no \.wav file"):
        opened(tmp_path, SOUND, FEATURES)
    (tmp_path / "broken.wav").write_bytes(b"RIFF....WAVE")
    with pytest.raises(CalibrationError, match=r"broken\.wav"):
        opened(tmp_path, SOUND, FEATURES)
    (tmp_path / "rows.csv").write_text("1,2\n")
    with pytest.raises(CalibrationError, match="no column of file names"):
        opened(tmp_path / "rows.csv", SOUND, FEATURES)


def test_rows_and_recordings_that_cannot_be_read_can_be_left_out(tmp_path: Path) -> None:
    write_wav(tmp_path / "good.wav", 1_600)
    (tmp_path / "broken.wav").write_bytes(b"RIFF....WAVE")
    assert {name.partition("#")[0] for name in opened(tmp_path, SOUND, FEATURES, skip=True).names} == {"good.wav"}
    (tmp_path / "a.csv").write_text("left,right\n" + "1,2\n" * 4)
    (tmp_path / "b.csv").write_text("left,right\n1,oops\n")
    assert opened(tmp_path, SIGNAL, ROWS, skip=True).names == ("a.csv#0",)


def test_rows_with_labels_calibrate_without_them(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("left,right,label\n" + "1,2,walk\n" * 4)
    data = opened(tmp_path / "rows.csv", SignalInput(window=4, stride=4), ROWS)
    assert next(iter(data.inputs([ROWS])))[0].tolist() == [[[1, 2]] * 4]


def test_made_up_sound_is_the_same_every_time_and_fills_the_input() -> None:
    one, other = (list(Seeded(2, SOUND).inputs([FEATURES])) for _ in range(2))
    assert [sample[0].shape for sample in one] == [FEATURES.shape] * 2
    assert np.array_equal(one[1][0], other[1][0])
    assert not np.array_equal(one[0][0], one[1][0])


def test_a_model_with_several_inputs_takes_arrays_of_all_of_them(tmp_path: Path) -> None:
    state = TensorSpec("state", (1, 4), np.dtype(np.float32))
    Image.effect_noise((40, 40), 50).save(tmp_path / "good.png")
    with pytest.raises(CalibrationError, match=r"2 inputs, which needs a \.npz"):
        open_dataset(tmp_path, GRAY, [PICTURE, state], input_names=["image", "state"], limit=9)
    assert [array.shape for array in next(iter(Seeded(1, GRAY).inputs([PICTURE, state])))] == [
        PICTURE.shape,
        state.shape,
    ]
