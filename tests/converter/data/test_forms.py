"""Every form of labeled data, read for what it says."""

import json
import sys
import wave
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from converter.data.examples import (
    ClassTruth,
    Examples,
    MapTruth,
    MapValues,
    ObjectsTruth,
    PictureFile,
    Pixels,
    Rows,
    Sound,
    Tensors,
    Transform,
    ValuesTruth,
)
from converter.errors import CalibrationError
from converter.metrics.objects import TrueObject
from tests.converter.data.forms import ROWS, SOUND, TENSORS, VALUES, opened, picture


def labels(found: Examples) -> dict[str, str | int]:
    return {item.name: item.truth.label for item in found.items if isinstance(item.truth, ClassTruth)}


def objects(found: Examples, name: str) -> tuple[TrueObject, ...]:
    truth = next(item.truth for item in found.items if item.name == name)
    assert isinstance(truth, ObjectsTruth)
    return truth.objects


# --- one label for each file ------------------------------------------------------------------------------------


def test_the_subfolder_is_the_class(tmp_path: Path) -> None:
    for name in ("cat/1.png", "cat/deep/2.png", "dog/1.jpg"):
        picture(tmp_path / name)
    found = opened(tmp_path, "classification")
    assert labels(found) == {"cat/1.png": "cat", "cat/deep/2.png": "cat", "dog/1.jpg": "dog"}
    assert isinstance(found.items[0].content, PictureFile)


def test_a_picture_in_no_subfolder_has_no_label(tmp_path: Path) -> None:
    picture(tmp_path / "cat/1.png")
    picture(tmp_path / "loose.png")
    found = opened(tmp_path, "classification")
    assert [(item.name, item.truth is None) for item in found.items] == [("cat/1.png", False), ("loose.png", True)]


@pytest.mark.parametrize("text", ["file,label\na.png,cat\nin/b.png,dog\n", "Image;Class\na.png;cat\nin/b.png;dog\n"])
def test_a_table_names_the_label_of_each_file(text: str, tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    picture(tmp_path / "in/b.png")
    (tmp_path / "labels.csv").write_text(text)
    for path in (tmp_path, tmp_path / "labels.csv"):
        assert labels(opened(path, "classification")) == {"a.png": "cat", "in/b.png": "dog"}


def test_a_table_holds_the_values_of_a_regression(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    (tmp_path / "t.csv").write_text("file,width,height\na.png,1.5,-2\n")
    assert opened(tmp_path / "t.csv", "regression").items[0].truth == ValuesTruth((1.5, -2.0))


def test_what_a_device_said_stands_for_the_truth(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    picture(tmp_path / "b.png")
    line = {"at": "2026-01-01T00:00:00.000Z", "input": "/var/lib/in/a.png", "results": [{"label": "cat", "index": 3}]}
    (tmp_path / "results.jsonl").write_text(json.dumps(line) + '\n{"cut off')
    found = opened(tmp_path, "classification", skip=True)
    assert labels(found) == {"a.png": "cat"}
    assert "agreement with its model" in found.notes[0]


def test_half_a_line_in_the_middle_of_a_letter_costs_that_line_alone(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    line = json.dumps({"input": "a.png", "results": [{"label": "cät", "index": 3}]}, ensure_ascii=False).encode()
    (tmp_path / "results.jsonl").write_bytes(line + b"\n" + line[: line.index(b"\xa4")] + b"\n\0\0\n")
    assert labels(opened(tmp_path, "classification")) == {"a.png": "cät"}


def said(folder: Path, **results: list[dict[str, Any]]) -> None:
    """A device's lines, by the name of the file without its suffix."""
    lines = [
        json.dumps({"input": next(folder.glob(f"{name}.*")).name, "results": told}) for name, told in results.items()
    ]
    (folder / "results.jsonl").write_text("\n".join(lines) + "\n")


def test_what_a_device_said_of_objects_is_their_truth(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        picture(tmp_path / f"{name}.png")
    cat = {"label": "cat", "index": 1, "score": 0.9, "box": [1.0, 2.0, 11.0, 7.0]}
    said(tmp_path, a=[cat, cat | {"label": None}], b=[])
    found = opened(tmp_path, "detection")
    assert [item.name for item in found.items] == ["a.png", "b.png"]  # nothing was said of c
    one = TrueObject("cat", (1.0, 2.0, 11.0, 7.0), 50.0)
    assert [(each.category, each.box, each.area) for each in objects(found, "a.png")] == [
        (name, one.box, one.area) for name in ("cat", "1")
    ]
    assert objects(found, "b.png") == ()
    assert "agreement with its model" in found.notes[0]


def test_what_a_device_said_of_bodies_is_their_truth(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    points = [{"name": None, "x": 3.0, "y": 4.0, "score": 0.9}, {"name": None, "x": 9.0, "y": 6.0, "score": 0.1}]
    said(tmp_path, a=[{"label": "person", "index": 0, "score": 0.9, "keypoints": points}])
    (one,) = objects(opened(tmp_path, "pose"), "a.png")
    assert (one.box, one.area) == ((3.0, 4.0, 9.0, 6.0), 12.0)
    assert one.keypoints is not None
    assert one.keypoints.tolist() == [[3.0, 4.0, 2.0], [9.0, 6.0, 2.0]]


def test_what_a_device_measured_is_the_truth_in_the_order_of_the_model(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    said(tmp_path, a=[{"label": "y", "index": 1, "value": 2.5}, {"label": "x", "index": 0, "value": 1.5}])
    assert opened(tmp_path, "regression").items[0].truth == ValuesTruth((1.5, 2.5))


def test_what_a_device_said_of_windows_is_their_truth(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.csv").write_text("x,y\n" + "1,2\n" * 4)
    said(tmp_path, a=[{"label": "run", "index": 2, "score": 0.7}])
    found = opened(tmp_path, "signal_classification", ROWS)
    assert [(item.name, item.truth) for item in found.items] == [("a.csv#0", ClassTruth("run")), ("b.csv#0", None)]
    assert "agreement with its model" in found.notes[0]
    (tmp_path / "a.csv").write_text("x,y,label\n" + "1,2,walk\n" * 4)
    assert labels(opened(tmp_path, "signal_classification", ROWS)) == {"a.csv#0": "walk"}  # what is known goes first


def test_rows_without_a_window_are_a_model_input_each(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("p,q,r\n1,2,3\n4,5,6\n")
    (tmp_path / "b.csv").write_text("p,q,r\n7,8,9\n")
    said(tmp_path, a=[{"label": "hot", "index": 1, "score": 0.7}])
    found = opened(tmp_path, "classification", VALUES)
    assert [(item.name, item.truth) for item in found.items] == [
        ("a.csv#0", ClassTruth("hot")), ("a.csv#1", ClassTruth("hot")), ("b.csv#0", None),
    ]  # fmt: skip
    contents = [item.content for item in found.items]
    assert [content.values[0].tolist() for content in contents if isinstance(content, Tensors)] == [
        [[1, 2, 3]], [[4, 5, 6]], [[7, 8, 9]],
    ]  # fmt: skip


def test_rows_without_a_window_have_labels_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("label,p,q,r\nhot,1,2,3\ncold,4,5,6\n")
    assert labels(opened(tmp_path / "a.csv", "classification", VALUES)) == {"a.csv#0": "hot", "a.csv#1": "cold"}


@pytest.mark.parametrize(
    ("row", "problem"),
    [("1,2", "expected 3 columns, found 2"), ("1,2,x", "expected numbers, found '1, 2, x'")],
)
def test_a_row_that_is_no_input_is_named(tmp_path: Path, row: str, problem: str) -> None:
    (tmp_path / "a.csv").write_text(f"p,q,r\n1,2,3\n{row}\n")
    with pytest.raises(CalibrationError, match=problem):
        opened(tmp_path, "classification", VALUES)
    (tmp_path / "a.csv").write_text("p,q\n1,2\n")
    with pytest.raises(CalibrationError, match="2 values; the model takes 3"):
        opened(tmp_path, "classification", VALUES)


def test_recordings_are_cut_as_on_the_device(tmp_path: Path) -> None:
    (tmp_path / "yes").mkdir()
    with wave.open(str(tmp_path / "yes/1.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(bytes(2 * 40_000))
    found = opened(tmp_path, "audio_classification", SOUND)
    assert labels(found) == {"yes/1.wav#0": "yes", "yes/1.wav#1": "yes"}
    assert isinstance(found.items[0].content, Sound)
    assert len(found.items[0].content.samples) == 16_000


# --- boxes ------------------------------------------------------------------------------------------------------


def coco(folder: Path, **changes: Any) -> dict[str, Any]:
    picture(folder / "images/a.png")
    picture(folder / "images/b.png")
    return {
        "images": [{"id": 7, "file_name": "a.png"}, {"id": 9, "file_name": "elsewhere/b.png"}],
        "categories": [{"id": 3, "name": "cat"}, {"id": 4, "name": "dog"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 3, "bbox": [1, 2, 10, 5], "area": 30.5, "iscrowd": 0},
            {"id": 2, "image_id": 7, "category_id": 4, "bbox": [0, 0, 4, 4], "iscrowd": 1,
             "keypoints": [1, 2, 2, 3, 4, 0]},
        ],
        **changes,
    }  # fmt: skip


def test_coco_has_boxes_areas_crowds_and_keypoints(tmp_path: Path) -> None:
    (tmp_path / "_annotations.coco.json").write_text(json.dumps(coco(tmp_path)))
    found = opened(tmp_path, "detection")
    cat, dog = objects(found, "a.png")
    assert (cat.category, cat.box, cat.area, cat.crowd) == ("cat", (1, 2, 11, 7), 30.5, False)
    assert (dog.category, dog.area, dog.crowd) == ("dog", 16, True)
    assert dog.keypoints is not None
    assert dog.keypoints.tolist() == [[1, 2, 2], [3, 4, 0]]
    assert objects(found, "elsewhere/b.png") == ()  # found by its name, and nothing is in it


def test_the_one_category_of_a_picture_is_its_class(tmp_path: Path) -> None:
    tree = coco(tmp_path)
    tree["annotations"][1]["image_id"] = 9
    (tmp_path / "a.json").write_text(json.dumps(tree))
    found = opened(tmp_path / "a.json", "classification")
    assert labels(found) == {"a.png": "cat", "elsewhere/b.png": "dog"}


VOC = """<annotation><filename>a.png</filename><size><width>40</width></size>
<object><name>cat</name><difficult>0</difficult>
<bndbox><xmin>1</xmin><ymin>3</ymin><xmax>20</xmax><ymax>10</ymax></bndbox></object>
<object><name>dog</name><difficult>1</difficult>
<bndbox><xmin>5</xmin><ymin>5</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object></annotation>"""


def test_voc_counts_pixels_from_one_and_leaves_difficult_objects_out(tmp_path: Path) -> None:
    picture(tmp_path / "JPEGImages/a.jpg")
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "Annotations/a.xml").write_text(VOC)
    cat, dog = objects(opened(tmp_path, "detection"), "JPEGImages/a.jpg")
    assert (cat.category, cat.box, cat.area, cat.ignored) == ("cat", (0, 2, 20, 10), 160, False)
    assert (dog.category, dog.ignored) == ("dog", True)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("data.yaml", "path: .\nnames: ['cat', \"big dog\"]\n"),
        ("data.yaml", "names:\n  0: cat\n  1: big dog\nnc: 2\n"),
        ("data.yaml", "names:\n- cat\n- big dog\n"),
        ("classes.txt", "cat\nbig dog\n"),
    ],
)
def test_yolo_is_of_middles_and_shares(name: str, text: str, tmp_path: Path) -> None:
    picture(tmp_path / "images/train/a.png", (40, 20))
    picture(tmp_path / "images/train/empty.png")
    (tmp_path / "labels/train").mkdir(parents=True)
    (tmp_path / "labels/train/a.txt").write_text("1 0.5 0.5 0.5 0.2\n\n0 0.1 0.1 0.3 0.1 0.3 0.5\n")
    (tmp_path / name).write_text(text)
    (tmp_path / "README.txt").write_text("not a picture's")
    found = opened(tmp_path, "detection")
    dog, outline = objects(found, "images/train/a.png")
    assert dog.category == "big dog"
    assert dog.box == pytest.approx((10, 8, 30, 12))
    assert outline.category == "cat"
    assert outline.box == pytest.approx((4, 2, 12, 10))
    assert objects(found, "images/train/empty.png") == ()


def test_masks_belong_to_the_picture_of_their_name(tmp_path: Path) -> None:
    for name in ("images/a.jpg", "images/b.jpg", "masks/a.png", "b_mask.png"):
        picture(tmp_path / name)
    found = opened(tmp_path, "segmentation")
    assert {item.name: item.truth for item in found.items} == {
        "images/a.jpg": MapTruth(tmp_path / "masks/a.png"),
        "images/b.jpg": MapTruth(tmp_path / "b_mask.png"),
    }


# --- rows -------------------------------------------------------------------------------------------------------


def test_a_window_is_what_most_of_its_rows_are(tmp_path: Path) -> None:
    rows = ["x,y,activity", *(f"{n},{-n},{'walk' if n < 3 else 'run'}" for n in range(8))]
    (tmp_path / "log.csv").write_text("\n".join(rows))
    found = opened(tmp_path / "log.csv", "signal_classification", ROWS)
    assert labels(found) == {"log.csv#0": "walk", "log.csv#1": "run", "log.csv#2": "run"}
    assert isinstance(found.items[1].content, Rows)
    assert found.items[1].content.values.tolist() == [[2, -2], [3, -3], [4, -4], [5, -5]]


def test_of_a_regression_the_last_row_of_a_window_counts(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("x,target,y\n" + "".join(f"{n},{n / 10},0\n" for n in range(4)))
    found = opened(tmp_path / "log.csv", "regression", ROWS)
    assert [item.truth for item in found.items] == [ValuesTruth((0.3,))]


def test_the_folder_of_a_log_is_its_class(tmp_path: Path) -> None:
    for name in ("run", "walk"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.csv").write_text("# a comment\nx[mg],y[mg]\n" + "1,2\n" * 5)
    found = opened(tmp_path, "signal_classification", ROWS)
    assert labels(found) == {"run/1.csv#0": "run", "walk/1.csv#0": "walk"}


# --- arrays and code --------------------------------------------------------------------------------------------


def windows_of_ones() -> Iterator[Any]:
    window = np.ones((4, 2), np.float32)
    for _ in range(3):
        yield window
        window += 1  # as code does that fills one buffer again and again


@pytest.mark.parametrize("data", ["d.npz", "x.npy", f"python:{__name__}:windows_of_ones"])
def test_arrays_of_windows_are_as_the_float_model_takes_them_and_not_normalized_again(
    data: str, tmp_path: Path
) -> None:
    x = np.stack([np.full((4, 2), level, np.float32) for level in (1, 2, 3)])
    np.savez(tmp_path / "d.npz", x=x)
    np.save(tmp_path / "x.npy", x)
    spec = replace(ROWS, mean=(10.0,), std=(2.0,))
    found = opened(Path(data) if ":" in data else tmp_path / data, "signal_classification", spec)
    taken = [Transform(spec, [TENSORS["signal"]]).apply(item.content)[0] for item in found.items]
    assert [(array.shape, float(array.mean())) for array in taken] == [
        ((1, 4, 2), 1.0),
        ((1, 4, 2), 2.0),
        ((1, 4, 2), 3.0),
    ]
    assert found.digest == opened(tmp_path / "d.npz", "signal_classification", spec).digest


@pytest.mark.parametrize("y", [[2, 0], [[0, 0, 1], [1, 0, 0]], [2.0, 0.0]])
def test_classes_are_numbers_or_one_hot_rows(y: list[Any], tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=np.ones((2, 3)), y=np.array(y))
    assert list(labels(opened(tmp_path / "d.npz", "classification", VALUES)).values()) == [2, 0]


def test_x_and_y_may_lie_in_two_files(tmp_path: Path) -> None:
    np.save(tmp_path / "x_test.npy", np.ones((2, 3)))
    np.save(tmp_path / "y_test.npy", np.array(["cat", "dog"]))
    found = opened(tmp_path / "x_test.npy", "classification", VALUES)
    assert labels(found) == {"sample 0": "cat", "sample 1": "dog"}
    assert isinstance(found.items[0].content, Tensors)
    (tmp_path / "y_test.npy").unlink()
    assert [item.truth for item in opened(tmp_path / "x_test.npy", "classification", VALUES).items] == [None, None]


def test_values_and_maps_are_truths_too(tmp_path: Path) -> None:
    np.savez(tmp_path / "v.npz", x=np.ones((2, 3)), y=np.array([[1.5, 2], [3, 4]]))
    assert opened(tmp_path / "v.npz", "regression", VALUES).items[1].truth == ValuesTruth((3, 4))
    np.savez(tmp_path / "m.npz", x=np.ones((2, 8, 8, 3), np.uint8), y=np.ones((2, 8, 8, 1), np.uint8))
    item = opened(tmp_path / "m.npz", "segmentation").items[0]
    assert isinstance(item.truth, MapValues)
    assert item.truth.values.shape == (8, 8)
    assert isinstance(item.content, Pixels)


def test_hdf5_is_read_where_h5py_is_installed(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "d.h5", "w") as file:
        file["test/x"] = np.ones((2, 3), np.float32)
        file.create_dataset("test/y", data=["cat", "dog"])
    found = opened(tmp_path / "d.h5", "classification", VALUES)
    assert labels(found) == {"sample 0": "cat", "sample 1": "dog"}


CODE = """
import numpy as np
from PIL import Image

print("loaded")

def samples():
    print("talking")
    yield Image.new("L", (10, 10), 3), "cat"
    yield np.zeros((4, 4, 3), np.uint8), 1
    yield np.zeros((8, 8, 3)), None

def boxes():
    yield np.zeros((4, 4, 3), np.uint8), [("cat", 0, 0, 2, 3)]

def broken():
    yield np.zeros((4, 4, 3), np.uint8), "cat"
    raise KeyError("no more")
"""


@pytest.fixture
def own_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_samples.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "own_samples", raising=False)


@pytest.mark.usefixtures("own_code")
def test_somebodys_own_code_gives_samples_and_cannot_talk_into_our_output(capsys: pytest.CaptureFixture[str]) -> None:
    found = opened(Path("python:own_samples:samples"), "classification")
    assert labels(found) == {"sample 0": "cat", "sample 1": 1}
    assert [type(item.content) for item in found.items] == [Pixels, Pixels, Tensors]
    assert capsys.readouterr().out == ""
    (box,) = objects(opened(Path("python:own_samples:boxes"), "detection"), "sample 0")
    assert (box.category, box.box, box.area) == ("cat", (0, 0, 2, 3), 6)


def test_the_digest_tells_of_names_and_contents(tmp_path: Path) -> None:
    found = {}
    for folder, level in (("a", 1), ("b", 1), ("c", 2)):
        picture(tmp_path / folder / "cat/1.png", level=level)
        found[folder] = opened(tmp_path / folder, "classification").digest
    assert found["a"] == found["b"] != found["c"]


def test_a_palette_picture_is_a_mask_by_its_indices(tmp_path: Path) -> None:
    from converter.evaluation.of_maps import _read

    image = Image.new("P", (4, 2), 5)
    image.putpalette([200] * 768)
    image.save(tmp_path / "m.png")
    assert _read(MapTruth(tmp_path / "m.png"), two_classes=False).tolist() == [[5] * 4] * 2
    Image.fromarray(np.array([[0, 255]], np.uint8)).save(tmp_path / "w.png")
    assert _read(MapTruth(tmp_path / "w.png"), two_classes=True).tolist() == [[0, 1]]
