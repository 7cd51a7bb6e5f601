"""Which of two versions is the older one. Versions are compared by their numbers: 1.10 comes after 1.9.

What an older version means for a device is left to `update.eligibility`.
"""

import re

_PARTS = re.compile(r"\d+|[a-z]+")
_END = (1, 0, "")  # between a word and a number: 1.0rc1 < 1.0 < 1.0.1
_Part = tuple[int, int, str]


def is_older(version: str, than: str) -> bool:
    """Whether `version` comes before `than`.

    Numbers are compared as numbers, letters as words that come before the version itself (`2.0-rc1` before `2.0`),
    zeros at the end do not count, and neither does what follows a `+`. A version that does not begin with a number
    (perhaps after a `v`) has no order: it is neither older nor newer than any other.
    """
    ours, theirs = _parts(version), _parts(than)
    return ours is not None and theirs is not None and ours < theirs


def _parts(version: str) -> list[_Part] | None:
    core = version.lower().partition("+")[0].removeprefix("v")
    if not core[:1].isdigit():
        return None
    parts: list[_Part] = []
    zeros: list[_Part] = []
    for text in _PARTS.findall(core):
        if not text.isdigit():
            zeros = []  # 1.0rc1 is 1rc1
            parts.append((0, 0, text))
        elif int(text) == 0:
            zeros.append((2, 0, ""))
        else:
            parts += [*zeros, (2, int(text), "")]
            zeros = []
    return [*parts, _END]
