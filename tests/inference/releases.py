"""Releases that the tests of the worker run, the project's own example models, and what they are fed with."""

import os
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from PIL import Image

from edge_agent.inference.ipc import Word
from edge_agent.inference.stage_server import WorkerExited
from edge_agent.release.inputs import ImageInput, InputSpec, SignalInput
from edge_agent.release.outputs import OutputSpec
from tests.sim.artifact import make_members, unpack

DIGITS = Path(__file__).parent.parent.parent / "examples" / "digits"
WAIT_S = 60.0
WordT = TypeVar("WordT", bound=Word | WorkerExited)
LABELS = "\n".join(str(digit) for digit in range(10)).encode()
GRAY = ImageInput(color="gray", mean=(0.0,), std=(255.0,))
LINES = SignalInput(channels=tuple(f"diode_{number}" for number in range(8)), window=8, stride=8)


def digits_release(directory: Path, *, model: str = "digits_v1.tflite", **more: Any) -> Path:
    """Pictures of digits, 32 x 32 gray."""
    return _release(directory, model, GRAY, "classification", **more)


def stalling_release(directory: Path) -> Path:
    """One whose loading never ends: a labels file that nobody writes to."""
    digits_release(directory)
    (directory / "labels.txt").unlink()
    os.mkfifo(directory / "labels.txt")
    return directory


def linescan_release(directory: Path, *, source: InputSpec = LINES, **more: Any) -> Path:
    """Windows of 8 rows of 8 photodiodes."""
    return _release(directory, "linescan_v1.tflite", source, "signal_classification", **more)


def _release(directory: Path, model: str, source: InputSpec, task: Any, **more: Any) -> Path:
    content = (DIGITS / model).read_bytes()
    output = OutputSpec(top_k=3)
    return unpack(make_members(content, task=task, source=source, output=output, labels=LABELS, **more), directory)


def write_picture(path: Path, shade: int = 200, *, size_px: tuple[int, int] = (64, 48)) -> Path:
    Image.new("RGB", size_px, (shade, shade, shade)).save(path, format="JPEG")
    return path


def write_pictures(folder: Path, count: int) -> Path:
    folder.mkdir(exist_ok=True)
    for number in range(count):
        write_picture(folder / f"{number:03}.jpg", shade=number % 256)
    return folder


def write_lines(path: Path, rows: int) -> Path:
    """Rows of eight photodiodes, each naming its unit."""
    header = ",".join(f"diode_{number}[lux]" for number in range(8))
    lines = [",".join(str((row + column) % 17) for column in range(8)) for row in range(rows)]
    path.write_text("\n".join(["# a line scanner", "", header, *lines, ""]))
    return path


class Words:
    """Keeps what a worker says, for a test that waits for it."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[Word | WorkerExited] = SimpleQueue()
        self.all: list[Word | WorkerExited] = []

    def say(self, word: Word | WorkerExited) -> None:
        self._queue.put(word)

    @property
    def pending(self) -> bool:
        """Whether it has said something that nobody has waited for."""
        return not self._queue.empty()

    def until(self, kind: type[WordT], *, count: int = 1) -> WordT:
        """Wait for `count` more words of a kind; gives the last of them."""
        while True:
            try:
                word = self.take()
            except Empty:
                raise AssertionError(f"waited for {kind.__name__}, heard {self.all[-20:]}") from None
            if isinstance(word, kind):
                count -= 1
                if count == 0:
                    return word

    def take(self) -> Word | WorkerExited:
        """The next one; raises Empty where none comes."""
        word = self._queue.get(timeout=WAIT_S)
        self.all.append(word)
        return word

    def of(self, kind: type[WordT]) -> list[WordT]:
        return [word for word in self.all if isinstance(word, kind)]
