"""What a file is that was given for a model and is none: people are told the name of their mistake, not of ours."""

import codecs
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

from edge_agent.errors import ModelError, Reason

IDENTIFIER = b"TFL3"
_HEAD_BYTES = 4096
_AGAIN = "copy or download it again"
# Beginnings of files: what it is, and what to do; "": give the one that was expected.
_MAGIC: tuple[tuple[bytes, str, str], ...] = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file it points to", "run 'git lfs pull' where it is from"),
    (b"\x89HDF\r\n\x1a\n", "a Keras or HDF5 file", "convert it with 'edgectl convert'"),
    (b"\x1f\x8b", "a gzip file", "unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it first"),
    (b"\xfd7zXZ\x00", "an xz file", "unpack it first"),
    (b"BZh", "a bzip2 file", "unpack it first"),
    (b"\xff\xd8\xff", "a JPEG picture", "give the model first, then the inputs"),
    (b"\x89PNG\r\n", "a PNG picture", "give the model first, then the inputs"),
    (b"BM", "a BMP picture", "give the model first, then the inputs"),
    (b"GIF8", "a GIF picture", "give the model first, then the inputs"),
    (b"\x7fELF", "a program", ""),
    (b"%PDF", "a PDF document", ""),
    (b"\x93NUMPY", "a NumPy array", "give the model first, then the inputs"),
    (b"GGUF", "a GGUF language model", "only TensorFlow Lite models run here"),
)
_MARKUP = (b"<!doctype", b"<html", b"<head", b"<?xml", b"<!--")


@dataclass(frozen=True, slots=True)
class Expected:
    """What somebody who gave a file most likely meant it to be."""

    what: str  # an ONNX model
    suffix: str  # .onnx


TFLITE = Expected("a TensorFlow Lite model", ".tflite")


def check_is_tflite(path: Path, expected: Expected = TFLITE) -> None:
    """Nothing, if the file begins as a TensorFlow Lite model does. `expected` is for what is told of another one.

    Raises:
        ModelError: NOT_A_MODEL, saying what it is and what to do.
    """
    try:
        size_bytes = path.stat().st_size
        if path.is_dir():
            raise _not_a_model(path, expected, *_directory(path))
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise _not_a_model(path, expected, f"not readable: {error.strerror or error}", "check the path") from error
    if head[4:8] != IDENTIFIER:
        raise _not_a_model(path, expected, *_kind(path, head, size_bytes, expected))


def _not_a_model(path: Path, expected: Expected, what: str, hint: str) -> ModelError:
    return ModelError(f"{path} is {what}; expected {expected.what}", reason=Reason.NOT_A_MODEL, hint=hint)


def _directory(path: Path) -> tuple[str, str]:
    if (path / "saved_model.pb").exists():
        return "a SavedModel directory", "convert it with 'edgectl convert'"
    if (path / "model.tflite").exists():
        return "a directory", f"give {path / 'model.tflite'}"
    return "a directory", "give the .tflite file in it"


def _kind(path: Path, head: bytes, size_bytes: int, expected: Expected) -> tuple[str, str]:
    """What the file is and what to do, after `is`."""
    give = f"give the {expected.suffix} file"
    for magic, what, hint in _MAGIC:
        if head.startswith(magic):
            return what, hint or give
    if head.startswith(b"PK\x03\x04"):
        return _zip_kind(path)
    for recognized, what, hint in (
        (not head, "empty", _AGAIN),
        (_is_markup(head), "an HTML or XML page", "the link led to a page about the file; download the file itself"),
        (not head.strip(b"\0"), f"{size_bytes} bytes that begin with zeros", f"the transfer failed; {_AGAIN}"),
        (_is_onnx(head), "an ONNX model", "convert it with 'edgectl convert'"),
        (_is_pickle(head), "a Python pickle", "export the model as .tflite"),
        (head[257:262] == b"ustar", "a tar archive", "unpack it first"),
        (_is_text(head), "a text file", give),
        (size_bytes < 8, f"only {size_bytes} bytes long", _AGAIN),
    ):
        if recognized:
            return what, hint
    if expected is not TFLITE:
        return "of an unknown kind", f"{_AGAIN}, or export it again where it was trained"
    return f"of an unknown kind (no {IDENTIFIER.decode()} at byte 4)", f"give a .tflite file, or {_AGAIN}"


def _zip_kind(path: Path) -> tuple[str, str]:
    try:
        with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, EOFError, NotImplementedError):
        return "a zip file that is cut off or damaged", _AGAIN
    if "manifest.json" in names and "model.tflite" in names:
        return "an .edge artifact", "this command takes the .tflite; inspect artifacts with 'edgectl inspect'"
    if "config.json" in names and any(name.endswith(".weights.h5") for name in names):
        return "a Keras model", "convert it with 'edgectl convert'"
    if any(name.endswith(("data.pkl", "constants.pkl")) for name in names):
        return "a PyTorch model", "convert it with 'edgectl convert'"
    tflite = [name for name in names if name.endswith(".tflite")]
    return "a zip file", f"unpack it: it holds {tflite[0]}" if tflite else "unpack it, and give the .tflite file"


def _is_markup(head: bytes) -> bool:
    return head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_MARKUP)


def _is_pickle(head: bytes) -> bool:
    """Opcode PROTO and its version (Lib/pickletools.py)."""
    return len(head) > 1 and head[0] == 0x80 and head[1] in (2, 3, 4, 5)


def _is_onnx(head: bytes) -> bool:
    """ModelProto (onnx.proto): field 1 is ir_version, 3 and up; then a string (2 to 4) or an import (8)."""
    return len(head) > 3 and head[0] == 0x08 and 3 <= head[1] < 32 and head[2] in (0x12, 0x1A, 0x22, 0x3A, 0x42)


def _is_text(head: bytes) -> bool:
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)  # its last character may be cut
    except UnicodeDecodeError:
        return False
    return all(character.isprintable() or character in "\r\n\t" for character in text)
