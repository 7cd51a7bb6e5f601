"""Samples that devices have sent, put together and written: FOLDER/<device>/<pipeline>/, as on the device.

Nothing that a device says is believed: what is no name of a sample is no file, and what is not whole is not written.
Asking for them is left to `samples`.
"""

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from edge_agent.disk import open_private
from edge_agent.errors import InputError, StorageError
from edge_agent.inference.samples.folder import RESULTS, SampleFolder, is_sample, sample_names
from edge_agent.link.messages import MessageError
from edge_agent.link.samples import MAX_SAMPLE_BYTES, Part, split_sample
from edge_agent.release.manifest import IDENTIFIER

_MAX_LINE_BYTES = 1_000_000
_MOST_PIPELINES = 64  # of one device
_BEGINS = {
    ".jpg": (b"\xff\xd8\xff",), ".png": (b"\x89PNG\r\n\x1a\n",), ".bmp": (b"BM",), ".gif": (b"GIF87a", b"GIF89a"),
    ".webp": (b"RIFF",), ".tif": (b"II*\0", b"MM\0*"), ".wav": (b"RIFF",),
}  # fmt: skip


class SampleFiles:
    """The folders of all devices and pipelines below `into`.

    Raises:
        InputError: it cannot be made, or written.
    """

    def __init__(self, into: Path) -> None:
        self._into = into
        self._folders: dict[tuple[str, str], SampleFolder] = {}
        self.added: Counter[tuple[str, str]] = Counter()  # by device and pipeline
        self.bytes = 0  # written
        try:
            open_private(into)
        except StorageError as error:
            raise _cannot(into, error) from error

    def path(self, device: str, pipeline: str) -> Path:
        """Where the samples of a pipeline are. Both are identifiers: the caller has looked."""
        return self._into / device / pipeline

    def newest(self, device: str) -> dict[str, str]:
        """By pipeline, the name of the last sample of this device that is there already."""
        found = {}
        folder = self._into / device
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            ours = IDENTIFIER.fullmatch(path.name) is not None and path.is_dir()
            names = sample_names(open_private(path)) if ours else []
            if names:
                found[path.name] = names[-1]
        return found

    def has(self, device: str, pipeline: str, name: str) -> bool:
        return is_sample(name) and (self.path(device, pipeline) / name).is_file()

    def put(self, device: str, pipeline: str, name: str, line: bytes, content: bytes) -> bool:
        """Write a whole sample; says whether it was not there yet.

        Raises:
            MessageError: it is no sample.
            InputError: it cannot be written.
        """
        check_content(name, content)
        text = _checked_line(name, line)
        try:
            folder = self._folder(device, pipeline)
            if folder.has(name):
                return False
            folder.put(name, content, text)
        except StorageError as error:
            raise _cannot(self.path(device, pipeline), error) from error
        self.added[device, pipeline] += 1
        self.bytes += len(content) + len(text)
        return True

    def _folder(self, device: str, pipeline: str) -> SampleFolder:
        known = self._folders.get((device, pipeline))
        if known is None:
            if sum(each == device for each, _ in self._folders) >= _MOST_PIPELINES:
                raise MessageError(f"a device of more than {_MOST_PIPELINES} pipelines")
            open_private(self._into / device)
            known = self._folders[device, pipeline] = SampleFolder(open_private(self.path(device, pipeline)))
        return known


@dataclass(slots=True)
class Assembly:
    """The sample of one device whose parts are coming: one at a time, in their order, as devices send them."""

    _first: Part | None = None
    _pieces: list[bytes] = field(default_factory=list)

    def add(self, part: Part) -> tuple[bytes, bytes] | None:
        """The line and the content, once all parts are there. A part that comes twice is one.

        Raises:
            MessageError: parts are missing, or the bytes are not those that were sent. The next sample may be fine.
        """
        if part.part == 0 and (self._first is None or not self._is_of_it(part)):
            self._first, self._pieces = part, []
        elif self._first is None or not self._is_of_it(part) or part.part > len(self._pieces):
            self._first, self._pieces = None, []
            raise MessageError(f"part {part.part + 1} of {part.parts} came without those before it")
        if part.part < len(self._pieces):
            return None
        self._pieces.append(part.content)
        if sum(map(len, self._pieces)) > MAX_SAMPLE_BYTES:
            self._first, self._pieces = None, []
            raise MessageError(f"more than {MAX_SAMPLE_BYTES} bytes")
        if len(self._pieces) < part.parts:
            return None
        whole, digest = b"".join(self._pieces), part.digest
        self._first, self._pieces = None, []
        return split_sample(whole, digest)

    def _is_of_it(self, part: Part) -> bool:
        first = self._first
        assert first is not None
        return (first.pipeline, first.name, first.parts, first.digest) == (
            part.pipeline, part.name, part.parts, part.digest,
        )  # fmt: skip


def check_content(name: str, content: bytes) -> None:
    """Whether a file of this name and content may be written. What is behind its beginning, whoever reads it finds out.

    Raises:
        MessageError: not the name of a sample, or another kind of file than its name says.
    """
    if not is_sample(name):
        raise MessageError(f"{name[:40]!r} is no name of a sample")
    suffix = name[name.rindex(".") :]
    begins = _BEGINS.get(suffix)
    if (begins is not None and not content.startswith(begins)) or (begins is None and not _is_text(content)):
        raise MessageError(f"{name} is no {suffix} file: it begins with {content[:8]!r}")


def _is_text(content: bytes) -> bool:
    try:
        return "\0" not in content.decode()
    except UnicodeDecodeError:
        return False


def _checked_line(name: str, line: bytes) -> bytes:
    """What was said of the sample, about this very file; nothing was said: only that it is there."""
    try:
        tree = json.loads(line) if line.strip() else {}
        if not isinstance(tree, dict) or len(line) > _MAX_LINE_BYTES:
            raise MessageError(f"what was said of {name} is no object of at most {_MAX_LINE_BYTES} bytes")
        return json.dumps({**tree, "input": name}, separators=(",", ":")).encode()
    except (ValueError, RecursionError) as error:
        raise MessageError(f"what was said of {name} is no JSON") from error


def _cannot(path: Path, error: StorageError) -> InputError:
    return InputError(f"{path}: {error}", hint=error.hint or f"give a folder for --into; {RESULTS} in it is ours")
