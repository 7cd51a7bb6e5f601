"""COCO's JSON of boxes, crowds and keypoints (cocodataset.org, Data format), as Roboflow and CVAT write it too.

A picture with an annotation that cannot be used is left out as a whole: judged without it, it would be judged wrongly.
"""

import json
import math
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from converter.data.examples import ClassTruth, Example, Examples, ObjectsTruth, PictureFile, Request, Truth, gathered
from converter.data.files import PICTURES, files_of
from converter.errors import CalibrationError
from converter.metrics.objects import TrueObject
from edge_agent.errors import FrameError
from edge_agent.transform.image import read_image

_HINT = "export it again as COCO JSON: images, annotations and categories, boxes as [left, top, width, height]"


def is_coco(path: Path) -> bool:
    """Whether a JSON file looks like it at its beginning; nothing is said of whether it is whole."""
    try:
        with open(path, encoding="utf-8") as file:
            return any(key in file.read(65_536) for key in ('"images"', '"annotations"'))
    except (OSError, UnicodeDecodeError):
        return False


def read_coco(request: Request, file: Path) -> Examples:
    """The pictures that the JSON names, with their objects; of a model that names classes, the one class of each.

    Raises:
        CalibrationError: it is no such JSON; or parts of it cannot be used.
    """
    images, annotations, categories = _parts(file)
    names = _categories(file, categories)
    found: dict[Any, list[TrueObject]] = defaultdict(list)
    problems: dict[Any, str] = {}
    listed = [image["id"] for image in images if isinstance(image, Mapping) and "id" in image]
    known = {image for image in listed if isinstance(image, Hashable)}
    strays = 0
    for place, annotation in enumerate(annotations):
        image = annotation.get("image_id") if isinstance(annotation, Mapping) else None
        if not isinstance(image, Hashable) or image not in known:
            strays += 1
            continue
        try:
            found[image].append(_object(annotation, names))
        except (KeyError, TypeError, ValueError) as error:
            missing = f"it has no {error}" if isinstance(error, KeyError) else str(error)
            problems.setdefault(image, f"annotation {annotation.get('id', place)}: {missing}")
    places = {path.name: path for path in files_of(file.parent, *PICTURES)}
    items, bad = [], [f"{strays} annotations: of no picture that it lists"] if strays else []
    for image in images:
        name, problem, path = _picture(file, image, places)
        key = image.get("id") if isinstance(image, Mapping) else None
        problem = problem or (problems.get(key) if isinstance(key, Hashable) else "its id is no number or text")
        if problem is None and path is not None:
            truth = _truth(request, tuple(found[key]))
            problem = _unreadable(path)
            if problem is None:
                items.append(Example(name, PictureFile(path), truth))
        if problem is not None:
            bad.append(f"{name}: {problem}")
    return gathered(request, items, bad, hint=_HINT)


def _parts(file: Path) -> tuple[list[Any], list[Any], list[Any]]:
    try:
        tree = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise CalibrationError(f"{file}: {error.strerror or error}", hint="check the path") from error
    except (ValueError, RecursionError) as error:
        raise CalibrationError(f"{file} is not whole JSON: {error}", hint=_HINT) from error
    keys = ("images", "annotations", "categories")
    missing = [key for key in keys if not isinstance(tree, dict) or not isinstance(tree.get(key), list)]
    if missing:
        raise CalibrationError(f"{file} is no COCO JSON: it has no list {', '.join(missing)}", hint=_HINT)
    return tree["images"], tree["annotations"], tree["categories"]


def _categories(file: Path, categories: Sequence[Any]) -> dict[Any, str]:
    try:
        return {category["id"]: str(category["name"]) for category in categories}
    except (KeyError, TypeError) as error:
        raise CalibrationError(f"{file} has categories without id and name", hint=_HINT) from error


def _picture(file: Path, image: Any, places: Mapping[str, Path]) -> tuple[str, str | None, Path | None]:
    if not isinstance(image, Mapping) or not isinstance(image.get("file_name"), str) or "id" not in image:
        return f"image {image!r}"[:60], "it has no id and file_name", None
    name = image["file_name"]
    path = file.parent / name
    if not path.is_file():
        found = places.get(Path(name).name)
        if found is None:
            return name, f"there is no such picture in {file.parent} or below", None
        path = found
    return name, None, path


def _unreadable(path: Path) -> str | None:
    try:
        read_image(path)
    except FrameError as error:
        return str(error).removeprefix(f"{path}: ")
    return None


def _object(annotation: Mapping[str, Any], names: Mapping[Any, str]) -> TrueObject:
    left, top, width, height = (float(value) for value in annotation["bbox"])
    if not all(map(math.isfinite, (left, top, width, height))) or width <= 0 or height <= 0:
        raise ValueError(f"expected a box [left, top, width, height] with an area, found {annotation['bbox']}")
    category = annotation["category_id"]
    if category not in names:
        raise ValueError(f"category {category} is none of those listed")
    keypoints = None
    if annotation.get("keypoints"):
        flat = np.array(annotation["keypoints"], np.float64)
        if flat.ndim != 1 or len(flat) % 3:
            raise ValueError(f"keypoints are x, y, visibility; found {len(flat)} numbers")
        keypoints = flat.reshape(-1, 3)
    return TrueObject(
        names[category],
        (left, top, left + width, top + height),
        float(annotation.get("area") or width * height),
        crowd=bool(annotation.get("iscrowd", 0)),
        keypoints=keypoints,
    )


def _truth(request: Request, objects: tuple[TrueObject, ...]) -> Truth | None:
    """Of a model that names classes, an annotation of the whole picture is its class."""
    if request.task != "classification":
        return ObjectsTruth(objects)
    labels = {each.category for each in objects}
    return ClassTruth(labels.pop()) if len(labels) == 1 else None
