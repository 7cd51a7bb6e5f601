"""Pictures with maps of classes: `masks/X.png` beside `images/X.jpg`, or VOC's `SegmentationClass` and `JPEGImages`.

The bytes of a mask are classes: of a palette picture its indices, of a gray one its values; 255 is none.
"""

from pathlib import Path

from converter.data.contents import contents_of
from converter.data.examples import Example, Examples, MapTruth, Request, gathered
from converter.data.files import PICTURES, files_of
from converter.errors import CalibrationError

_FOLDERS = ("masks", "mask", "SegmentationClass", "annotations", "labels", "segmentations")
_ENDINGS = ("_mask", "-mask", "_label", "_seg", "")


def read_masks(request: Request) -> Examples:
    """The pictures of a folder that have a mask.

    Raises:
        CalibrationError: there are no masks; or parts cannot be used.
    """
    folder = request.path
    files = files_of(folder, *PICTURES)
    masks = {path: stem for path in files if (stem := picture_of(path, folder)) is not None}
    if not masks:
        raise CalibrationError(
            f"{folder} holds no masks",
            hint="put the mask of images/X.jpg into masks/X.png, its bytes being the classes (255: none)",
        )
    pictures = {path.stem: path for path in files if path not in masks}
    items, bad = [], []
    for mask, stem in masks.items():
        picture = pictures.get(stem)
        name = mask.relative_to(folder).as_posix()
        if picture is None:
            bad.append(f"{name}: there is no picture {stem}")
            continue
        found, problem = contents_of(picture, request.spec)
        if problem is None:
            items.append(Example(picture.relative_to(folder).as_posix(), found[0], MapTruth(mask)))
        else:
            bad.append(f"{picture.relative_to(folder).as_posix()}: {problem}")
    return gathered(request, items, bad, hint="a mask masks/X.png belongs to the picture images/X.jpg")


def picture_of(path: Path, folder: Path) -> str | None:
    """The stem of the picture that this one is the mask of, by its name; None: it is no mask."""
    ending = next(each for each in _ENDINGS if path.stem.endswith(each))
    if ending or path.relative_to(folder).parts[0] in _FOLDERS:
        return path.stem.removesuffix(ending)
    return None
