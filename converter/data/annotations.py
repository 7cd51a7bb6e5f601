"""Which files of a folder of pictures are about the pictures: representative data has no use for them."""

from collections.abc import Sequence
from pathlib import Path

from converter.data.files import PICTURES
from converter.data.masks import picture_of
from converter.data.yolo import place_of

_SUFFIXES = (".csv", ".json", ".jsonl", ".xml", ".yaml", ".yml")


def without_annotations(folder: Path, files: Sequence[Path]) -> list[Path]:
    """The files without tables and annotations, YOLO's text files, and masks of pictures that are among them."""
    pictures = [file for file in files if file.suffix.lower() in PICTURES]
    places = {place_of(file, folder) for file in pictures}
    stems = {file.stem: file for file in pictures if picture_of(file, folder) is None}

    def is_about_others(file: Path) -> bool:
        suffix = file.suffix.lower()
        if suffix == ".txt":
            return place_of(file, folder) in places or file.name in ("classes.txt", "obj.names")
        return suffix in _SUFFIXES or (suffix in PICTURES and picture_of(file, folder) in stems)

    return [file for file in files if not is_about_others(file)]
