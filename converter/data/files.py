"""Files of a folder, and how a message names several. Reading them is left to the others."""

from collections.abc import Sequence
from pathlib import Path

NAMED = 3  # files a message names before it says "and N more"
_GENERATORS = ("python:", "plugin:")
PICTURES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


def files_of(folder: Path, *suffixes: str) -> list[Path]:
    """All in it and its subfolders but hidden ones (.DS_Store and the like), in the order of their paths.

    With `suffixes` (lower case, with their dot) those alone.
    """
    found = (path for path in folder.rglob("*") if path.is_file())
    shown = (path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))
    return sorted(path for path in shown if not suffixes or path.suffix.lower() in suffixes)


def is_generator(path: Path) -> bool:
    """Whether it names somebody's code that gives samples (`generated`), and no file."""
    return str(path).startswith(_GENERATORS)


def absolute(path: Path) -> str:
    """As a child finds it, whatever its working directory; what is no file stays as it was said (`python:…`)."""
    return str(path.resolve()) if path.exists() else str(path)


def listed(names: Sequence[str]) -> str:
    """The first few, and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
