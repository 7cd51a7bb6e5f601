"""One row of a sensor as text: JSON, or numbers with commas, semicolons, blanks or tabs between.

Nothing of what comes from outside raises anything but FrameError here. Columns are left to `row_options`.
"""

import json
import re
from collections.abc import Mapping, Sequence

from edge_agent.errors import FrameError, counted
from edge_agent.inference.sources.lines import MAX_LINE_BYTES

Row = Mapping[str, object] | Sequence[object]

_BETWEEN = re.compile(r"\s*[,;]\s*|\s+")


def parse_json_row(content: bytes) -> Row:
    """An object or a list; a single number is a list of one.

    Raises:
        FrameError: it is neither, or no JSON.
    """
    text = _text(content)
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError) as error:
        problem = str(error) if isinstance(error, json.JSONDecodeError) else "it is nested too deep or too long"
        raise FrameError(f"expected JSON, found {text[:40]!r}: {problem}") from error
    if isinstance(tree, dict | list):
        return tree
    if isinstance(tree, int | float) and not isinstance(tree, bool):
        return [tree]
    found = "a text" if isinstance(tree, str) else text[:40]
    raise FrameError(f"expected an object, a list or a number, found {found}")


def parse_line_row(content: bytes, names: Sequence[str] = ()) -> Row:
    """A line of numbers, called by `names` where there are any; or JSON, which names them itself.

    Raises:
        FrameError: it is no such line.
    """
    text = _text(content).strip()
    if text.startswith(("{", "[")):
        row = parse_json_row(content)
        return dict(zip(names, row, strict=True)) if not isinstance(row, Mapping) and len(row) == len(names) else row
    cells = _BETWEEN.split(text)
    if len(cells) > max(1, len(names)) and not cells[-1]:  # many a sketch prints a comma behind each number
        cells.pop()
    if not names:
        return cells
    if len(cells) != len(names):
        raise FrameError(
            f"expected {counted(len(names), 'value')} ({', '.join(names)}), found {len(cells)}: {text[:40]!r}"
        )
    return dict(zip(names, cells, strict=True))


def _text(content: bytes) -> str:
    if len(content) > MAX_LINE_BYTES:
        raise FrameError(f"it is longer than {MAX_LINE_BYTES} bytes, and no row")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FrameError(f"expected text in UTF-8, found {content[:16]!r}") from error
