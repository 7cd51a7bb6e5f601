"""Data that will not do: one error that names it, and what to do."""

import contextlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from converter.data.coco import read_coco
from converter.data.examples import Request
from converter.data.opening import check_examples
from converter.errors import CalibrationError
from edge_agent.release.inputs import InputSpec
from edge_agent.release.outputs import TaskName
from tests.converter.data.forms import PICTURES, ROWS, SOUND, TENSORS, VALUES, opened, picture
from tests.converter.data.test_forms import CODE, VOC, coco

Make = Callable[[Path], object]


def _write(name: str, text: str) -> Make:
    def make(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)

    return make


@pytest.mark.parametrize(
    ("make", "task", "words"),
    [
        (lambda folder: None, "classification", "is empty"),
        (lambda folder: (folder / "cat").mkdir(), "classification", "is empty"),
        (_write("cat/notes.txt", "hello"), "classification", r"cat/notes\.txt: not one of"),
        (_write("cat/1.png", "no picture"), "classification", r"cat/1\.png: "),
        (lambda folder: picture(folder / "train/cat/1.png"), "classification", "parts of a data set, not classes"),
        (_write("labels.csv", "file,label\nmissing.png,cat\n"), "classification", "fits none of the files: missing"),
        (_write("labels.csv", "a,b\n1,2\n"), "classification", "has no column of file names; it has a, b"),
        (_write("labels.csv", ""), "classification", "holds no rows"),
        (lambda folder: picture(folder / "a.png"), "detection", "holds no boxes: neither a COCO"),
        (lambda folder: picture(folder / "a.png"), "segmentation", "holds no masks"),
        (_write("a.xml", VOC), "detection", r"a\.xml: there is no picture a"),
    ],
)
def test_a_folder_that_will_not_do_is_an_error_with_a_hint(
    make: Make, task: TaskName, words: str, tmp_path: Path
) -> None:
    make(tmp_path)
    with pytest.raises(CalibrationError, match=words) as caught:
        opened(tmp_path, task)
    assert caught.value.hint


def test_unreadable_files_are_named_and_left_out_on_demand(tmp_path: Path) -> None:
    picture(tmp_path / "cat/good.png")
    for number in range(4):
        (tmp_path / f"cat/{number}.png").write_text("no picture")
    with pytest.raises(CalibrationError, match=r"4 of 5 cannot be used: cat/0\.png: .* and 1 more") as caught:
        opened(tmp_path, "classification")
    assert "--skip-unreadable" in str(caught.value.hint)
    found = opened(tmp_path, "classification", skip=True)
    assert [item.name for item in found.items] == ["cat/good.png"]
    assert len(found.left_out) == 4


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"annotations": None}, "it has no list annotations"),
        ({"categories": [{"name": "cat"}]}, "categories without id and name"),
        ({"images": [{"id": 7, "file_name": "missing.png"}]}, "there is no such picture"),
        ({"images": [{"file_name": "a.png"}]}, "no id and file_name"),
        ({"annotations": [{"image_id": 99}]}, "1 annotations: of no picture that it lists"),
        ({"annotations": [{"image_id": 7, "category_id": 3}]}, "it has no 'bbox'"),
        ({"annotations": [{"image_id": 7, "category_id": 3, "bbox": [1, 2, 3]}]}, "a.png: annotation 0"),
        ({"annotations": [{"image_id": 7, "category_id": 3, "bbox": [5, 5, 0, 4]}]}, "with an area"),
        ({"annotations": [{"image_id": 7, "category_id": 3, "bbox": [5, 5, "x", 4]}]}, "a.png: annotation 0"),
        ({"annotations": [{"image_id": 7, "category_id": 8, "bbox": [5, 5, 4, 4]}]}, "category 8 is none"),
        ({"annotations": [{"image_id": 7, "category_id": 3, "bbox": [5, 5, 4, 4], "keypoints": [1]}]}, "visibility"),
    ],
)
def test_half_broken_coco_names_what_is_broken(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    tree = coco(tmp_path, **change)
    (tmp_path / "a.json").write_text(json.dumps(tree))
    with pytest.raises(CalibrationError, match=words) as caught:
        opened(tmp_path / "a.json", "detection")
    assert caught.value.hint


def test_a_picture_with_a_broken_annotation_is_left_out_as_a_whole(tmp_path: Path) -> None:
    tree = coco(tmp_path)
    tree["annotations"][1]["bbox"] = [0, 0, -1, 4]
    (tmp_path / "a.json").write_text(json.dumps(tree))
    found = opened(tmp_path / "a.json", "detection", skip=True)
    assert [item.name for item in found.items] == ["elsewhere/b.png"]


def test_coco_that_is_cut_in_half_is_no_traceback(tmp_path: Path) -> None:
    text = json.dumps(coco(tmp_path))
    (tmp_path / "a.json").write_text(text[: len(text) // 2])
    with pytest.raises(CalibrationError, match="is not whole JSON"):
        opened(tmp_path / "a.json", "detection")


_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.integers(-5, 5) | st.floats(allow_nan=True) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["id", "image_id", "category_id", "bbox", "file_name", "name", "area", "keypoints"]), inner
        )
    ),
    max_leaves=12,
)


@settings(max_examples=150)
@example(images=[], annotations=[{"image_id": []}], categories=[])
@example(images=[{"id": []}], annotations=[], categories=[])
@given(images=_VALUES, annotations=_VALUES, categories=_VALUES)
def test_whatever_a_json_holds_only_our_own_error_comes_out(
    tmp_path_factory: pytest.TempPathFactory, images: Any, annotations: Any, categories: Any
) -> None:
    file = tmp_path_factory.mktemp("coco") / "a.json"
    file.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    with pytest.raises(CalibrationError):  # there are no pictures
        read_coco(Request(file, "detection", PICTURES, skip_unreadable=True), file)


_FORMS: dict[str, tuple[str, TaskName, InputSpec]] = {
    "yolo": ("a.txt", "detection", PICTURES),
    "names": ("data.yaml", "detection", PICTURES),
    "voc": ("a.xml", "detection", PICTURES),
    "table": ("labels.csv", "classification", PICTURES),
    "values": ("labels.csv", "regression", PICTURES),
    "said": ("results.jsonl", "classification", PICTURES),
    "rows": ("log.csv", "signal_classification", ROWS),
}
_PIECES = st.sampled_from(
    [
        "0", "0.5", "1", "-1", "nan", "1e999", " ", ",", ";", "\n", "file", "label", "a.png", "x,y", "cat", '"', "{",
        "}", "[", "]", '{"input": "a.png", "results": []}', "<annotation>", "</annotation>", "<object>", "<bndbox>",
        "names:", "\x00", "é", "0 0.5 0.5 0.5 0.5\n", "file,label\na.png,", "x,y,label\n1,2,",
    ]
)  # fmt: skip


@settings(max_examples=60)
@given(pieces=st.lists(_PIECES, max_size=14))
@pytest.mark.parametrize("form", _FORMS)
def test_whatever_a_text_holds_only_our_own_error_comes_out(
    form: str, pieces: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("text")
    name, task, spec = _FORMS[form]
    if spec is PICTURES:
        picture(folder / "a.png")
    if form == "names":
        (folder / "a.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (folder / name).write_text("".join(pieces), encoding="utf-8")
    with contextlib.suppress(CalibrationError):
        opened(folder, task, spec)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("0 0.5 0.5 0.5", "expected a class"),
        ("9 0.5 0.5 0.5 0.5", "expected a class"),
        ("0 5 5 2 2", "from 0 to 1"),
        ("cat 0.5 0.5 0.5 0.5", "is no class"),
        ("0 0.5 0.5 0 0.5", "expected a class"),
    ],
)
def test_a_line_of_yolo_that_is_none_is_named(line: str, words: str, tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text(line)
    (tmp_path / "classes.txt").write_text("cat\n")
    with pytest.raises(CalibrationError, match=rf"a\.txt, line 1: .*{words}|a\.txt, line 1: '.*{words}"):
        opened(tmp_path, "detection")


@pytest.mark.parametrize(
    "text", ["<annotation>", "<html/>", VOC.replace("20", "0"), VOC.replace("<name>cat</name>", "")]
)
def test_voc_that_is_none_is_named(text: str, tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(CalibrationError, match=r"1 of 1 cannot be used: a\.xml: "):
        opened(tmp_path, "detection")


def test_rows_that_are_none_are_named(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("x,y,label\n" + "1,2,walk\n" * 3 + "1,oops,walk\n")
    with pytest.raises(CalibrationError, match=r"log\.csv: line 5: expected a number, found 'oops'"):
        opened(tmp_path, "signal_classification", ROWS)
    (tmp_path / "log.csv").write_text("x,y,label\n1,2,walk\n")
    with pytest.raises(CalibrationError, match="holds no whole window of 4 rows") as caught:
        opened(tmp_path, "signal_classification", ROWS)
    assert "--window" in str(caught.value.hint)
    (tmp_path / "log.csv").unlink()
    with pytest.raises(CalibrationError, match=r"holds no \.csv"):
        opened(tmp_path, "signal_classification", ROWS)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": np.zeros((2, 4)), "y": np.zeros(2)}, r"holds \[2, 4\]; the model takes \[samples, 3\]"),
        ({"x": np.zeros((2, 3)), "y": np.zeros(3)}, "not as many of each"),
        ({"x": np.zeros((0, 3)), "y": np.zeros(0)}, "at least one"),
        ({"x": np.full((2, 3), np.inf), "y": np.zeros(2)}, "NaN or Inf"),
        ({"x": np.zeros((2, 3)), "y": np.array([0.5, 1])}, "no truth for task classification"),
        ({"a": np.zeros((2, 3)), "b": np.zeros((2, 3))}, "holds a, b; the model takes vector"),
    ],
)
def test_arrays_that_do_not_fit_are_named(arrays: dict[str, Any], words: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(CalibrationError, match=words) as caught:
        opened(tmp_path / "d.npz", "classification", VALUES)
    assert caught.value.hint


@pytest.mark.parametrize("name", ["d.npz", "d.npy", "d.h5"])
def test_a_file_of_arrays_that_is_cut_off_is_named(name: str, tmp_path: Path) -> None:
    if name == "d.h5":
        pytest.importorskip("h5py")
    (tmp_path / name).write_bytes(b"\x89HDF\r\n\x1a\n cut off")
    with pytest.raises(CalibrationError, match=r"is not (a )?whole"):
        opened(tmp_path / name, "classification", VALUES)


def test_hdf5_without_h5py_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    (tmp_path / "d.h5").write_bytes(b"")
    with pytest.raises(CalibrationError, match="h5py is not installed") as caught:
        opened(tmp_path / "d.h5", "classification", VALUES)
    assert "edge-deploy[hdf5]" in str(caught.value.hint)


def test_code_that_fails_is_an_error_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_broken.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name, words in (
        ("python:own_broken:broken", "failed: KeyError: 'no more'"),
        ("python:own_broken:missing", "cannot be loaded: AttributeError"),
        ("python:no_such_module_here:f", "cannot be loaded: ModuleNotFoundError"),
        ("python:own_broken:np", "failed|is no function"),
        ("plugin:nobody", "no plugin nobody of the group edge_deploy.data"),
    ):
        with pytest.raises(CalibrationError, match=words) as caught:
            opened(Path(name), "classification")
        assert caught.value.hint


def test_data_of_another_kind_is_told_from_what_is_needed(tmp_path: Path) -> None:
    (tmp_path / "d.bin").write_bytes(b"")
    for spec, wanted in ((PICTURES, "folder of pictures"), (ROWS, "a .csv of rows"), (SOUND, "WAV"), (VALUES, ".npz")):
        with pytest.raises(CalibrationError, match="is no data for a model with input kind") as caught:
            opened(tmp_path / "d.bin", "classification", spec)
        assert wanted in str(caught.value)
    with pytest.raises(CalibrationError, match="no such file"):
        opened(tmp_path / "missing", "classification")


# --- looked at before it is needed ------------------------------------------------------------------------------


def looked_at(path: Path, *, skip: bool = False) -> None:
    tensor = TENSORS["image"]
    check_examples(Request(path, "classification", PICTURES, skip), [tensor], [tensor.name])


def test_data_that_will_do_is_silently_looked_at(tmp_path: Path) -> None:
    picture(tmp_path / "cat/1.png")
    looked_at(tmp_path)


def test_a_picture_whose_end_is_missing_is_found_unless_it_is_to_be_left_out(tmp_path: Path) -> None:
    picture(tmp_path / "cat/1.png")
    content = picture(tmp_path / "cat/2.png", (300, 300)).read_bytes()
    (tmp_path / "cat/2.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(CalibrationError, match=r"1 of 2 cannot be used: cat/2\.png: ") as caught:
        looked_at(tmp_path)
    assert "--skip-unreadable" in str(caught.value.hint)
    looked_at(tmp_path, skip=True)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": np.ones((3, 5, 5, 3)), "y": np.zeros(3)}, r"\[3, 5, 5, 3\]; the model takes \[samples, 8, 8, 3\]"),
        ({"x": np.full((3, 8, 8, 3), 90.0)}, "none of the 3 samples has a label"),
        ({"x": np.full((3, 8, 8, 3), 900.0), "y": np.zeros(3)}, "by its normalization the model takes 0 to 255"),
    ],
)
def test_arrays_that_the_model_does_not_take_are_found(arrays: dict[str, Any], words: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(CalibrationError, match=words):
        looked_at(tmp_path / "d.npz")
