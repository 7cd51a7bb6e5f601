"""Real models and real data of the digits example, written once for all tests of the converter."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from converter.convert import convert
from converter.job import Order
from edge_agent.inference.model import Model, open_release
from edge_agent.release.archive import read_artifact
from edge_agent.transform.image import read_image
from edge_agent.transform.rows import parse_rows
from examples.digits import dataset

EXAMPLES = Path(dataset.__file__).parent


@dataclass(frozen=True, slots=True)
class Digits:
    """Where the files are."""

    calibration: Path  # pictures that were trained on
    held_out: tuple[tuple[Path, int], ...]
    calibration_rows: Path
    held_out_rows: Path
    held_out_classes: tuple[int, ...]  # of the windows of the rows


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Digits:
    folder = tmp_path_factory.mktemp("digits")
    dataset.write_pictures(folder / "calibration", 120, held_out=False)
    held_out = dataset.write_pictures(folder / "held_out", dataset.HELD_OUT)
    dataset.write_rows(folder / "calibration.csv", 120, held_out=False)
    classes = dataset.write_rows(folder / "held_out.csv", dataset.HELD_OUT)
    return Digits(
        folder / "calibration", tuple(held_out), folder / "calibration.csv", folder / "held_out.csv", tuple(classes)
    )


@pytest.fixture(scope="session")
def int8(digits: Digits, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An int8 artifact of the pictures' model. Read only."""
    output = tmp_path_factory.mktemp("int8") / "digits-1.edge"
    convert(order(output, options={"scheme": "int8"}, calibrate=digits.calibration))
    return output


def order(output: Path, **changes: object) -> Order:
    """An order for the pictures' model, changed as said."""
    plain: dict[str, object] = {"source": EXAMPLES / "digits_v2.tflite", "recipe": EXAMPLES / "digits.toml"}
    return Order(output=output, **{**plain, **changes})  # type: ignore[arg-type]  # the tests name fields of Order


def unpack(path: Path, folder: Path) -> Model:
    """The artifact as the device opens it."""
    folder.mkdir(parents=True)
    for name, content in read_artifact(path).members.items():
        (folder / name).write_bytes(content)
    return open_release(folder, 1)


def picture_accuracy(path: Path, digits: Digits, folder: Path) -> float:
    """Share of the held-out pictures that the artifact names rightly."""
    right = 0
    with unpack(path, folder) as model:
        for picture, digit in digits.held_out:
            prepared = model.prepare_image(read_image(picture))
            right += model.decode(model.invoke(prepared), prepared)[0].label == str(digit)
    return right / len(digits.held_out)


def row_accuracy(path: Path, digits: Digits, folder: Path) -> float:
    """Share of the held-out windows that the artifact names rightly."""
    found = []
    with unpack(path, folder) as model, open(digits.held_out_rows, encoding="utf-8") as lines:
        windower = model.windower()
        for row in parse_rows(lines, dataset.CHANNELS):
            assert row.values is not None
            window = windower.push(row.values)
            if window is not None:
                prepared = model.prepare_rows(window)
                found.append(model.decode(model.invoke(prepared), prepared)[0].index)
    assert len(found) == len(digits.held_out_classes)
    return sum(a == b for a, b in zip(found, digits.held_out_classes, strict=True)) / len(found)
