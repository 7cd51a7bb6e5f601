"""The example's committed models and data are what its README says."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from converter.convert import convert
from edge_agent.inference.tflite import open_engine
from edge_agent.release.archive import read_artifact
from edge_agent.release.chunks import cut, pack
from examples.digits import dataset
from tests.converter.conftest import EXAMPLES, Digits, order

README = (EXAMPLES / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "accuracy"),
    [("digits_v1", 0.9345), ("digits_v2", 0.9698), ("linescan_v1", 0.9547), ("linescan_v2", 0.9723)],
)
def test_the_accuracy_of_each_model_is_the_one_in_the_readme(name: str, accuracy: float) -> None:
    held_out = dataset.load(held_out=True)
    right = 0
    with open_engine(EXAMPLES / f"{name}.tflite") as engine:
        for values, digit in zip(held_out.values, held_out.classes, strict=True):
            if name.startswith("digits"):
                picture = dataset.picture(values).resize((32, 32), Image.Resampling.BILINEAR)
                inputs = (np.asarray(picture, np.float32) / 255).reshape(1, 32, 32, 1)
            else:
                inputs = values.astype(np.float32).reshape(1, 8, 8)
            right += int(np.argmax(engine.invoke([inputs])[0])) == digit
    assert right / len(held_out.classes) == pytest.approx(accuracy, abs=0.003)
    assert f"{accuracy:.4f}" in README


def test_version_2_shares_most_of_its_bytes_with_version_1(int8: Path, digits: Digits, tmp_path: Path) -> None:
    """`int8` is version 2; both are calibrated on the same pictures."""
    output = tmp_path / "digits-0.edge"
    source = EXAMPLES / "digits_v1.tflite"
    convert(order(output, source=source, options={"scheme": "int8"}, calibrate=digits.calibration))
    held = {chunk for content in read_artifact(output).members.values() for chunk in cut(content)}
    wanted = [chunk for content in read_artifact(int8).members.values() for chunk in cut(content)]
    missing = sum(len(pack(chunk)) for chunk in wanted if chunk not in held)
    assert missing < 0.25 * sum(len(pack(chunk)) for chunk in wanted)


def test_held_out_digits_were_not_trained_on() -> None:
    held_out, trained_on = dataset.load(held_out=True), dataset.load(held_out=False)
    assert len(held_out.classes) == dataset.HELD_OUT
    assert len(held_out.classes) + len(trained_on.classes) == 1797
    assert set(held_out.classes.tolist()) == set(range(10))


def test_pictures_are_gray_and_named_after_their_class(tmp_path: Path) -> None:
    written = dataset.write_pictures(tmp_path, 12, start=5, per_class=True)
    assert len(written) == 12
    for path, digit in written:
        assert path.parent.name == str(digit)
        assert path.stem.endswith(f"_is_{digit}")
        with Image.open(path) as picture:
            assert (picture.mode, picture.size) == ("L", (dataset.PICTURE_PX, dataset.PICTURE_PX))


def test_rows_are_eight_for_each_digit(tmp_path: Path) -> None:
    classes = dataset.write_rows(tmp_path / "rows.csv", 3)
    lines = (tmp_path / "rows.csv").read_text().splitlines()
    assert lines[0].split(",") == list(dataset.CHANNELS)
    assert len(lines) == 1 + 8 * len(classes)
    assert all(0 <= int(value) <= 16 for line in lines[1:] for value in line.split(","))
