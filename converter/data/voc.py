"""Pascal VOC's XML, one file for each picture (VOC 2012 development kit, §4).

Objects that are `difficult` do not count, found or not, as in the kit's own evaluation.
"""

from pathlib import Path
from xml.etree import ElementTree as ET

from converter.data.contents import contents_of
from converter.data.examples import Example, Examples, ObjectsTruth, Request, gathered
from converter.data.files import PICTURES, files_of
from converter.metrics.objects import TrueObject


def read_voc(request: Request) -> Examples:
    """The pictures of a folder whose annotations lie beside them, or in a folder `Annotations`.

    Raises:
        CalibrationError: parts of it cannot be used.
    """
    folder = request.path
    pictures = {path.stem: path for path in files_of(folder, *PICTURES)}
    items, bad = [], []
    for file in files_of(folder, ".xml"):
        name = file.relative_to(folder).as_posix()
        picture = pictures.get(file.stem)
        if picture is None:
            bad.append(f"{name}: there is no picture {file.stem}")
            continue
        try:
            truth = ObjectsTruth(tuple(_objects(file)))
        except (OSError, ET.ParseError, ValueError) as error:
            bad.append(f"{name}: {error}")
            continue
        found, problem = contents_of(picture, request.spec)
        if problem is None:
            items.append(Example(picture.relative_to(folder).as_posix(), found[0], truth))
        else:
            bad.append(f"{picture.relative_to(folder).as_posix()}: {problem}")
    return gathered(request, items, bad, hint="an annotation X.xml belongs to the picture X.jpg")


def _objects(file: Path) -> list[TrueObject]:
    # A person's own files; expat itself stops entities that grow without bound.
    root = ET.parse(file).getroot()  # noqa: S314
    if root.tag != "annotation":
        raise ValueError(f"expected <annotation>, found <{root.tag}>")
    found = []
    for each in root.iter("object"):
        box = each.find("bndbox")
        name = (each.findtext("name") or "").strip()
        if box is None or not name:
            raise ValueError("an object has no name or no bndbox")
        texts = [box.findtext(side) for side in ("xmin", "ymin", "xmax", "ymax")]
        left, top, right, bottom = (float(text) if text else float("nan") for text in texts)
        if not (left < right and top < bottom):
            raise ValueError(f"the box of {name} is {texts}: no area")
        # corners are pixels counted from 1, the last one inside
        left, top = left - 1, top - 1
        area = (right - left) * (bottom - top)
        difficult = (each.findtext("difficult") or "0").strip() == "1"
        found.append(TrueObject(name, (left, top, right, bottom), area, ignored=difficult))
    return found
