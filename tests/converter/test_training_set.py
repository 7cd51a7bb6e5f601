"""Training sets of every form become what the model takes, batch by batch from a file."""

import wave
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from converter.errors import CalibrationError
from converter.training.metric import choose_metric
from converter.training.samples import TrainingSet, read_training_set
from converter.training.taken import Taken, from_request, to_request
from edge_agent.release.inputs import AudioInput, ImageInput, InputSpec, SignalInput, TensorInput
from edge_agent.release.outputs import TaskName
from edge_agent.transform.tensor import TensorSpec

GENERATOR = np.random.default_rng(0)
COLORS = {"red": (200, 0, 0), "green": (0, 200, 0), "blue": (0, 0, 200)}
LABELS = tuple(COLORS)


def taken(
    spec: InputSpec, *shape: int, task: TaskName = "classification", labels: tuple[str, ...] = LABELS, values: int = 3
) -> Taken:
    return Taken(task, spec, TensorSpec("x", (1, *shape), np.dtype(np.float32)), "x", labels, values)


PICTURES = taken(ImageInput(mean=(100.0,), std=(50.0,)), 4, 6, 3)
VALUES = taken(TensorInput(), 5)
ROWS = taken(SignalInput(channels=("a", "b"), window=4, stride=4), 4, 2, task="signal_classification")


def read(path: Path, by: Taken, folder: Path, shape: Sequence[int | None] | None = None) -> TrainingSet:
    return read_training_set(path, by, shape or by.tensor.shape[1:], folder, lambda _: None)


def pictures(folder: Path) -> Path:
    """Two of each color, in a subfolder that is called so."""
    for name, color in COLORS.items():
        (folder / name).mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (12, 8), color).save(folder / name / f"{number}.png")
    return folder


# --- forms ------------------------------------------------------------------------------------------------------------


def test_pictures_go_through_the_devices_transform_and_are_of_their_subfolders_class(tmp_path: Path) -> None:
    found = read(pictures(tmp_path / "data"), PICTURES, tmp_path)
    assert found.samples.y.tolist() == [2, 2, 1, 1, 0, 0]  # in the order of their paths
    x = found.samples.x[:]
    assert x.dtype == np.float32
    assert x.shape == (6, 4, 6, 3)
    for place, name in ((0, "blue"), (2, "green"), (4, "red")):
        assert np.allclose(x[place], (np.array(COLORS[name]) - 100) / 50, atol=0.02)


def test_where_the_source_has_its_channels_first_they_are_first(tmp_path: Path) -> None:
    data = pictures(tmp_path / "data")
    last, first = (read(data, PICTURES, tmp_path, shape).samples.x[:] for shape in ((4, 6, 3), (3, 4, 6)))
    assert first.shape == (6, 3, 4, 6)
    assert np.array_equal(first, last.transpose(0, 3, 1, 2))


@pytest.mark.parametrize("lies", ["as the source takes it", "as a device takes it"])
def test_arrays_may_lie_either_way(lies: str, tmp_path: Path) -> None:
    x = GENERATOR.standard_normal((7, 3, 4, 6)).astype(np.float32)
    there = x if lies == "as the source takes it" else x.transpose(0, 2, 3, 1)
    np.savez(tmp_path / "d.npz", x=there, y=np.arange(7) % 3)
    found = read(tmp_path / "d.npz", taken(TensorInput(), 4, 6, 3), tmp_path, (3, 4, 6))
    assert np.array_equal(found.samples.x[:], x)


def test_bytes_are_pictures_and_other_arrays_are_as_the_float_model_takes_them(tmp_path: Path) -> None:
    pixels = GENERATOR.integers(0, 256, (5, 4, 6, 3), np.uint8)
    np.savez(tmp_path / "bytes.npz", x=pixels, y=np.zeros(5, np.int64))
    np.savez(tmp_path / "real.npz", x=(pixels.astype(np.float64) - 100) / 50, y=np.zeros(5, np.int64))
    one, other = (read(tmp_path / name, PICTURES, tmp_path).samples.x[:] for name in ("bytes.npz", "real.npz"))
    assert np.allclose(one, other, atol=0.02)


def test_labels_of_a_table_and_of_arrays_are_names_or_numbers(tmp_path: Path) -> None:
    data = pictures(tmp_path / "data")
    (tmp_path / "data" / "labels.csv").write_text("file,label\nred/0.png,blue\ngreen/1.png,1\n")
    assert read(data / "labels.csv", PICTURES, tmp_path).samples.y.tolist() == [1, 2]
    np.savez(tmp_path / "d.npz", x=np.ones((3, 5)), y=np.array(["green", "red", "Blue"]))
    assert read(tmp_path / "d.npz", VALUES, tmp_path).samples.y.tolist() == [1, 0, 2]


def test_windows_of_rows_are_cut_as_on_the_device(tmp_path: Path) -> None:
    rows = [f"{n},{-n},{'green' if n < 4 else 'blue'}" for n in range(8)]
    (tmp_path / "log.csv").write_text("\n".join(["a,b,label", *rows]))
    found = read(tmp_path / "log.csv", ROWS, tmp_path)
    assert found.samples.y.tolist() == [1, 2]
    assert found.samples.x[:][1].tolist() == [[n, -n] for n in range(4, 8)]


def test_recordings_are_cut_into_windows_of_sound(tmp_path: Path) -> None:
    by = taken(AudioInput(window=400, stride=400, sample_rate_hz=8000), 400, task="audio_classification")
    (tmp_path / "data" / "green").mkdir(parents=True)
    with wave.open(str(tmp_path / "data" / "green" / "a.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 800, "NONE", ""))
        file.writeframes((np.arange(800) * 40).astype("<i2").tobytes())
    found = read(tmp_path / "data", by, tmp_path)
    assert found.samples.y.tolist() == [1, 1]
    assert np.allclose(found.samples.x[:].ravel(), np.arange(800) * 40 / 32768, atol=1e-4)


def test_values_are_what_a_regression_learns(tmp_path: Path) -> None:
    by = taken(ImageInput(), 4, 6, 3, task="regression", labels=(), values=2)
    data = pictures(tmp_path / "data")
    (tmp_path / "data" / "measured.csv").write_text("file,a,b\nred/0.png,1.5,2\nblue/1.png,-1,0\n")
    assert read(data, by, tmp_path).samples.y.tolist() == [[-1.0, 0.0], [1.5, 2.0]]
    np.save(tmp_path / "x.npy", np.ones((2, 4, 6, 3), np.uint8))
    np.save(tmp_path / "y.npy", np.array([[1.0, 2.0], [3.0, 4.0]]))
    assert read(tmp_path / "x.npy", by, tmp_path).samples.y.tolist() == [[1.0, 2.0], [3.0, 4.0]]


def some_samples() -> Iterator[Any]:
    yield np.full(5, 0.5), "blue"
    yield [1, 2, 3, 4, 5], 0


def test_somebodys_code_gives_samples(tmp_path: Path) -> None:
    found = read(Path(f"python:{__name__}:some_samples"), VALUES, tmp_path)
    assert found.samples.y.tolist() == [2, 0]
    assert found.samples.x[:].tolist() == [[0.5] * 5, [1, 2, 3, 4, 5]]


# --- batches ----------------------------------------------------------------------------------------------------------


def test_only_what_is_asked_for_is_in_memory(tmp_path: Path) -> None:
    x = GENERATOR.standard_normal((40, 5)).astype(np.float32)
    np.savez(tmp_path / "d.npz", x=x, y=np.arange(40))
    samples = read(tmp_path / "d.npz", VALUES, tmp_path).samples
    some = samples.select(np.array([3, 9, 4])).select(np.array([2, 0]))
    assert isinstance(samples.x._whole, np.memmap)  # what this is about
    assert np.array_equal(some.x[np.array([1, 0])], x[[3, 4]])
    assert np.array_equal(some.x[:1], x[[4]])
    assert some.y.tolist() == [4, 3]
    assert len(some) == len(some.x) == 2


def test_its_digest_is_of_what_is_trained_on(tmp_path: Path) -> None:
    x, y = np.ones((4, 5)), np.array([0, 1, 2, 0])
    np.savez(tmp_path / "a.npz", x=x, y=y)
    np.savez(tmp_path / "b.npz", y=y, x=x.astype(np.float32), more=x)
    np.savez(tmp_path / "c.npz", x=x, y=y[::-1])
    a, b, c = (read(tmp_path / f"{name}.npz", VALUES, tmp_path).digest for name in "abc")
    assert a == b != c


def test_how_it_is_read_crosses_to_the_child() -> None:
    for by in (PICTURES, VALUES, ROWS):
        assert from_request(to_request(by, Path("python:birds:samples"))) == (by, Path("python:birds:samples"))


# --- what is none -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": np.ones((9, 5))}, "has no y"),
        ({"x": np.ones((9, 5)), "y": np.arange(4)}, "not as many of each"),
        ({"x": np.full((3, 5), np.inf), "y": np.zeros(3)}, "holds NaN or Inf"),
        ({"x": np.ones((3, 5)), "y": np.full(3, np.nan)}, "y holds NaN or Inf"),
        ({"x": np.ones((3, 5)), "y": np.full(3, "cat")}, "1 labels that the model does not know: cat; it has red, "),
        ({"x": np.ones((3, 4)), "y": np.zeros(3)}, r"holds \[3, 4\]; the model takes \[samples, 5\]"),
        ({"x": np.ones((3, 1, 5, 1)), "y": np.zeros(3)}, r"holds \[5, 1\] for each sample; the model takes \[5\]"),
        ({"x": np.ones(3, "c16"), "y": np.zeros(3)}, "is no type of numbers"),
        ({"x": np.float32(1), "y": np.zeros(3)}, "not as many of each"),
    ],
)
def test_arrays_that_are_no_training_set_are_named(tmp_path: Path, arrays: dict[str, Any], words: str) -> None:
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(CalibrationError, match=words) as caught:
        read(tmp_path / "d.npz", VALUES, tmp_path)
    assert caught.value.hint


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and no more", b"text"])
def test_a_file_that_is_no_npz_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "d.npz").write_bytes(content)
    with pytest.raises(CalibrationError, match="is not a whole"):
        read(tmp_path / "d.npz", VALUES, tmp_path)


def _stranger(folder: Path) -> None:
    (folder / "violet").mkdir()
    Image.new("RGB", (8, 8)).save(folder / "violet" / "0.png")


def _cut(folder: Path) -> None:
    noise = Image.fromarray(GENERATOR.integers(0, 256, (60, 60, 3), np.uint8))
    noise.save(folder / "red" / "cut.png")
    content = (folder / "red" / "cut.png").read_bytes()
    (folder / "red" / "cut.png").write_bytes(content[: len(content) // 2])


def _loose(folder: Path) -> None:
    for path in list(folder.rglob("*.png")):
        path.rename(folder / f"{path.parent.name}-{path.name}")  # a test's own files


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_stranger, "labels that the model does not know: violet; it has red, green, blue"),
        (_cut, "1 of 7 cannot be used: red/cut.png"),
        (_loose, "none of the 6 samples has a label"),
    ],
)
def test_a_folder_that_is_no_training_set_is_named(spoil: Callable[[Path], None], words: str, tmp_path: Path) -> None:
    data = pictures(tmp_path / "data")
    spoil(data)
    with pytest.raises(CalibrationError, match=words) as caught:
        read(data, PICTURES, tmp_path)
    assert caught.value.hint


def test_what_cannot_be_read_is_left_out_where_that_is_asked_for_and_told(tmp_path: Path) -> None:
    data = pictures(tmp_path / "data")
    _cut(data)
    told: list[str] = []
    by = Taken(PICTURES.task, PICTURES.input, PICTURES.tensor, "x", LABELS, 3, skip_unreadable=True)
    found = read_training_set(data, by, (4, 6, 3), tmp_path, told.append)
    assert found.samples.y.tolist() == [2, 2, 1, 1, 0, 0]
    assert len(found.samples.x) == 6
    assert any("1 left out: red/cut.png" in line for line in told)


def test_a_model_that_is_cut_from_what_is_trained_has_no_known_training_set(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match=r"takes \[32, 32, 3\] where it is trained and \[4, 6, 3\]"):
        read(pictures(tmp_path / "data"), PICTURES, tmp_path, (32, 32, 3))


def test_pictures_in_arrays_that_are_normalized_in_another_way_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=GENERATOR.uniform(0, 255, (9, 4, 6, 3)), y=np.zeros(9))
    with pytest.raises(CalibrationError, match="by its normalization the model takes -2 to 3"):
        read(tmp_path / "d.npz", PICTURES, tmp_path)


@pytest.mark.parametrize("task", ["detection", "segmentation"])
def test_boxes_and_maps_are_no_classes(task: TaskName, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "1.png")
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "images" / "1.png")
    Image.new("L", (8, 8)).save(tmp_path / "masks" / "1.png")
    (tmp_path / "1.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (tmp_path / "classes.txt").write_text("red\n")
    data = tmp_path
    with pytest.raises(CalibrationError, match="are trained here by classes or values"):
        read(data, taken(ImageInput(), 4, 6, 3, task=task), tmp_path.parent)


@pytest.mark.parametrize("kind", [np.int64, np.float32])
def test_rows_with_a_one_at_the_class_are_classes(kind: type, tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=np.ones((3, 5)), y=np.eye(3, dtype=kind)[[2, 0, 1]])
    y = read(tmp_path / "d.npz", VALUES, tmp_path).samples.y
    assert (y.tolist(), y.dtype.kind) == ([2, 0, 1], "i")


def test_of_a_regression_whole_numbers_are_values(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=np.ones((3, 5)), y=np.array([7, -2, 300]))
    y = read(tmp_path / "d.npz", taken(TensorInput(), 5, task="regression", labels=(), values=1), tmp_path).samples.y
    assert choose_metric("auto", np.zeros((3, 1), np.float32), y).loss == "mse"
    assert y.tolist() == [7, -2, 300]
