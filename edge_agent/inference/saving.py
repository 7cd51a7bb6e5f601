"""Pictures with what was found drawn in, written to a folder: `edge-agent infer --save`.

Drawing is left to `annotate`, making a picture that people can look at to `transform.render`.
"""

from pathlib import Path

from edge_agent.errors import InputError
from edge_agent.inference.annotate import draw, look_of
from edge_agent.inference.model import Model
from edge_agent.inference.oneshot import OneShot
from edge_agent.release.inputs import ImageInput
from edge_agent.transform.render import render

_WIDEST_PX = 1920
_QUALITY = 90  # of JPEG


class Saver:
    """Nothing that is there already is written over: a name that is taken gets a number.

    Raises:
        InputError: the model takes no pictures, or the folder cannot be made.
    """

    def __init__(self, folder: Path, model: Model) -> None:
        if not isinstance(model.manifest.input, ImageInput):
            raise InputError(
                f"--save draws into pictures; this model takes input kind {model.manifest.input.kind!r}",
                hint="leave --save out; --json has all results",
            )
        self._folder = folder
        self._model = model
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{folder}: {error.strerror or error}", hint="give a folder for --save") from error

    def save(self, found: OneShot) -> Path | None:
        """Where it was written; None of an input that is no picture.

        Raises:
            InputError: it cannot be written.
            FrameError: the picture cannot be decoded.
        """
        picture = found.shot.picture
        if picture is None:
            return None
        rendered = render(picture, found.shot.view, _WIDEST_PX)
        look = look_of(self._model, found.outputs, found.shot.prepared)
        drawn = draw(rendered.image, found.results, scale=rendered.scale, look=look)
        path = self._free_path(found.input)
        try:
            drawn.save(path, "JPEG", quality=_QUALITY)
        except OSError as error:
            raise InputError(f"{path}: {error.strerror or error}", hint="check the folder of --save") from error
        return path

    def _free_path(self, name: str) -> Path:
        stem = Path(name).stem if "#" not in Path(name).name else Path(name).name.replace("#", "-")
        number, path = 1, self._folder / f"{stem}.jpg"
        while path.exists():
            number += 1
            path = self._folder / f"{stem}-{number}.jpg"
        return path
