"""Label files: one label a line, the line's number being the class index."""

import re

_NUMBERED = re.compile(r"(\d+)[ \t:,]+(\S.*)")


def parse_labels(content: bytes) -> tuple[str, ...]:
    """The labels by class index. Numbered lines (`17  dog`, as Coral and Teachable Machine write them) may leave out
    indices; these have the label "".

    Raises:
        ValueError: not UTF-8 text.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"the label file is not UTF-8 text (byte {error.start})") from error
    if "\0" in text:
        raise ValueError("the label file is not text")
    lines = [line.strip() for line in text.splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    numbered = [_NUMBERED.fullmatch(line) for line in lines]
    if not lines or not all(numbered):
        return tuple(lines)
    pairs = {int(match[1]): match[2] for match in numbered if match}
    ascending = list(pairs) == sorted(pairs) and len(pairs) == len(lines)
    if not ascending or max(pairs) >= 100_000:
        return tuple(lines)
    return tuple(pairs.get(index, "") for index in range(max(pairs) + 1))


def format_labels(labels: tuple[str, ...]) -> bytes:
    return "".join(f"{label}\n" for label in labels).encode()
