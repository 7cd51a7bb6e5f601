"""Where a report goes: beside the artifact, or where somebody said. What stands in it is left to `page`."""

from collections.abc import Iterable
from pathlib import Path

from converter.errors import RecipeError
from converter.report.page import MARK
from edge_agent.disk import write_atomic

SUFFIX = ".report.html"


def report_path(output: Path, asked: Path | None) -> Path:
    """`NAME-VERSION.report.html` beside `NAME-VERSION.edge`, where nothing else was asked for."""
    return asked if asked is not None else output.with_suffix(SUFFIX)


def check_report_path(path: Path, *, force: bool, taken: Iterable[Path | None] = ()) -> None:
    """An older report may be replaced; with `force` any file but those that are `taken`.

    Raises:
        RecipeError: something else is there.
    """
    if path.resolve() in {other.resolve() for other in taken if other is not None}:
        raise RecipeError(f"--report {path} is a file of this conversion", hint="give --report another path")
    if path.is_dir():
        raise RecipeError(f"{path} is a directory", hint="give --report the path of a file")
    if force or not path.exists():
        return
    try:
        with open(path, "rb") as file:
            ours = file.read(len(MARK)) == MARK
    except OSError as error:
        raise RecipeError(f"{path}: {error.strerror or error}", hint="give --report another path") from error
    if not ours:
        raise RecipeError(f"{path} exists and is no report", hint="give --report another path, or pass --force")


def write_report(path: Path, content: bytes) -> None:
    """Whole or not at all.

    Raises:
        StorageError: it cannot be written there.
    """
    write_atomic(path, content)
