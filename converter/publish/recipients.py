"""For whom a release is encrypted: public keys of devices, as `edge-agent keys show` prints them."""

from pathlib import Path

from edge_agent.errors import InputError
from edge_agent.release.sealing import parse_public

_HINT = "a line is what 'edge-agent keys show' prints on a device: edge-x25519:… and its name; # begins a comment"


def read_recipients(path: Path) -> dict[str, bytes]:
    """Name to public key, out of a file, or of every `*.txt` and `*.pub` in a directory.

    Raises:
        InputError: with every line that is none, a name with two keys, or none at all.
    """
    recipients: dict[str, bytes] = {}
    problems: list[str] = []
    for file in _files(path):
        for number, line in enumerate(_lines(file), 1):
            words = line.partition("#")[0].split()
            if not words:
                continue
            try:
                public = parse_public(words[0])
            except ValueError as error:
                problems.append(f"{file.name}:{number}: {error}")
                continue
            name = words[1] if len(words) == 2 else ""
            if not name:
                problems.append(f"{file.name}:{number}: a key and one name are expected, found {len(words)} words")
            elif recipients.setdefault(name, public) != public:
                problems.append(f"{file.name}:{number}: {name} has another key already")
    if not problems and not recipients:
        problems.append("there is no recipient in it")
    if problems:
        raise InputError("\n  ".join([f"{path} cannot be used:", *problems]), hint=_HINT)
    return recipients


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.iterdir() if file.suffix in (".txt", ".pub"))


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: {getattr(error, 'strerror', None) or error}", hint=_HINT) from error
