"""YOLO's text files: `class x y width height` a line, of 0 to 1 of the picture, x and y being the middle.

Source: docs.ultralytics.com/datasets/detect; polygons of a segmentation set are taken for the box around them.
"""

import re
from pathlib import Path

from PIL import Image

from converter.data.contents import contents_of
from converter.data.examples import Example, Examples, ObjectsTruth, Request, gathered
from converter.data.files import PICTURES, files_of
from converter.metrics.objects import TrueObject

_NAME_FILES = ("classes.txt", "obj.names", "data.yaml", "data.yml", "dataset.yaml")
_FLOW = re.compile(r"^names:\s*\[(.*)\]\s*$", re.MULTILINE)
_BLOCK = re.compile(r"^names:\s*\n((?:[ \t]*(?:-|\d+:)[^\n]*\n?)+)", re.MULTILINE)
_ORIENTATION = 0x0112


def is_yolo(folder: Path) -> bool:
    """Whether text files lie beside pictures of the same name, or in `labels` beside `images`."""
    pictures = {place_of(path, folder) for path in files_of(folder, *PICTURES)}
    return any(place_of(path, folder) in pictures for path in files_of(folder, ".txt"))


def read_yolo(request: Request) -> Examples:
    """The pictures of a folder. One without a text file has no objects, as YOLO trains it.

    Raises:
        CalibrationError: parts of it cannot be used.
    """
    folder = request.path
    names = _names(folder)
    texts = {place_of(path, folder): path for path in files_of(folder, ".txt") if path.name not in _NAME_FILES}
    items, bad = [], []
    for picture in files_of(folder, *PICTURES):
        name = picture.relative_to(folder).as_posix()
        found, problem = contents_of(picture, request.spec)
        if problem is None:
            try:
                text = texts.pop(place_of(picture, folder), None)
                objects = _objects(text, picture, names) if text else []
                items.append(Example(name, found[0], ObjectsTruth(tuple(objects))))
            except (OSError, ValueError) as error:
                problem = str(error)
        if problem is not None:
            bad.append(f"{name}: {problem}")
    lonely = [path.relative_to(folder) for path in texts.values()]
    bad += [f"{path.as_posix()}: there is no picture {path.stem}" for path in lonely if "labels" in path.parts]
    return gathered(request, items, bad, hint="a text file X.txt belongs to the picture X.jpg")


def place_of(path: Path, folder: Path) -> tuple[str, ...]:
    """What a picture and its text file have in common: `images/a/1.jpg` and `labels/a/1.txt` have the same one."""
    parts = path.relative_to(folder).with_suffix("").parts
    return tuple(part for part in parts if part not in ("images", "labels"))


def _names(folder: Path) -> list[str]:
    """Of the classes, where a file says them; else they are called by their numbers."""
    for base in (folder, folder.parent):
        for name in _NAME_FILES:
            if (base / name).is_file():
                text = (base / name).read_text(encoding="utf-8", errors="replace")
                return _of_yaml(text) if name.endswith(("yaml", "yml")) else [line for line in text.split("\n") if line]
    return []


def _of_yaml(text: str) -> list[str]:
    """The list `names` in either form of YAML; no more of the language is read."""
    flow, block = _FLOW.search(text), _BLOCK.search(text)
    if flow:
        parts = flow[1].split(",")
    elif block:
        parts = [re.sub(r"^[ \t]*(?:-|\d+:)", "", line) for line in block[1].splitlines()]
    else:
        return []
    return [part.strip().strip("'\"") for part in parts if part.strip()]


def _objects(file: Path, picture: Path, names: list[str]) -> list[TrueObject]:
    with Image.open(picture) as opened:
        width_px, height_px = opened.size
        if opened.getexif().get(_ORIENTATION, 1) >= 5:  # it lies on its side
            width_px, height_px = height_px, width_px
    found = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        cells = line.split()
        if not cells:
            continue
        try:
            index, values = int(cells[0]), [float(cell) for cell in cells[1:]]
        except ValueError as error:
            raise ValueError(f"{file.name}, line {number}: {line[:40]!r} is no class and its numbers") from error
        sides = _sides(values)
        if sides is None or (names and not 0 <= index < len(names)):
            raise ValueError(
                f"{file.name}, line {number}: expected a class (0 to {max(len(names) - 1, 0)}) and x, y, width, height "
                f"from 0 to 1, found {line[:40]!r}"
            )
        left, top, right, bottom = sides
        box = (left * width_px, top * height_px, right * width_px, bottom * height_px)
        area = (box[2] - box[0]) * (box[3] - box[1])
        found.append(TrueObject(names[index] if names else str(index), box, area))
    return found


def _sides(values: list[float]) -> tuple[float, float, float, float] | None:
    if not all(-0.01 <= value <= 1.01 for value in values):
        return None
    if len(values) == 4:
        x, y, width, height = values
        sides = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    elif len(values) >= 6 and len(values) % 2 == 0:
        sides = (min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2]))
    else:
        return None
    return sides if sides[0] < sides[2] and sides[1] < sides[3] else None
