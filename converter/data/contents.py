"""What one file holds of examples: a picture is one, a recording as many as the model's windows fit into it."""

from collections.abc import Sequence
from pathlib import Path

from converter.data.examples import Content, PictureFile, Sound
from converter.data.files import PICTURES
from converter.data.sounds import windows_of
from edge_agent.errors import FrameError
from edge_agent.release.inputs import AudioInput, InputSpec
from edge_agent.transform.image import read_image


def suffixes_of(spec: InputSpec) -> tuple[str, ...]:
    """Of files that such a model takes."""
    return (".wav",) if isinstance(spec, AudioInput) else PICTURES


def contents_of(path: Path, spec: InputSpec) -> tuple[Sequence[Content], str | None]:
    """What is in a file, and why not if it cannot be read. Of a picture only the beginning is looked at here."""
    try:
        if isinstance(spec, AudioInput):
            return [Sound(samples) for samples in windows_of(path, spec)], None
        read_image(path)
    except FrameError as error:
        return [], str(error).removeprefix(f"{path}: ")
    return [PictureFile(path)], None
