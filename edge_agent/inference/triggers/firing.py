"""What has fired, and how it is told: the same JSON in the message and on the command's standard input."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_agent.inference.ipc import Result
from edge_agent.inference.sinks.tree import compact, utc

MAX_BYTES = 60_000  # as of every message (docs/mqtt-interface.md)
_MOST_MATCHES = 50
_MOST_TOLD = 3  # in a sentence


@dataclass(frozen=True, slots=True)
class Firing:
    """One trigger and the result that fired it."""

    trigger: str
    pipeline: str
    result: Result
    held_s: float
    matches: tuple[Mapping[str, Any], ...]  # predictions, each with its `stage`
    snapshot: Path | None = None

    def text(self) -> bytes:
        """JSON of at most `MAX_BYTES`: matches that would make it larger are left out, the last first."""
        matches = list(self.matches[:_MOST_MATCHES])
        while len(text := compact(self._tree(matches))) > MAX_BYTES and matches:
            del matches[len(matches) // 2 :]
        return text

    def sentence(self) -> str:
        """`cat (0.93), dog (0.7), for 2.1 s`."""
        count = len(self.matches)
        words = [_words(match) for match in self.matches[:_MOST_TOLD]]
        what = ", ".join(words) + (f" and {count - _MOST_TOLD} more" if count > _MOST_TOLD else "")
        return f"{what or 'nothing to be seen'}, for {self.held_s:.1f} s"

    def _tree(self, matches: list[Mapping[str, Any]]) -> dict[str, object]:
        tree: dict[str, object] = {
            "trigger": self.trigger,
            "at": utc(self.result.captured_s),
            "pipeline": self.pipeline,
            "input": self.result.input,
            "held_s": round(self.held_s, 3),
            "matches": matches,
        }
        return tree if self.snapshot is None else {**tree, "snapshot": str(self.snapshot)}


def _words(match: Mapping[str, Any]) -> str:
    label = match.get("label")
    name = str(label) if label is not None else f"#{match.get('index')}"
    value = match.get("value")
    return f"{name} ({value if value is not None else round(match.get('score', 0.0), 2)})"
