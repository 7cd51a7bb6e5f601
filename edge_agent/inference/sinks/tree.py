"""One result as JSON: the same in a file, in a request and on the wire (docs/mqtt-interface.md)."""

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime

from edge_agent.inference.ipc import Answer, Result

VersionOf = Callable[[str], str | None]  # of a digest; None: not known


def _no_version(_digest: str) -> str | None:
    return None


@dataclass(frozen=True, slots=True)
class ResultFormat:
    """How the results of one pipeline are written. `stages`: all it has, not only those that answered."""

    pipeline: str
    stages: Collection[str]
    version_of: VersionOf = _no_version

    def tree(self, result: Result) -> dict[str, object]:
        """A pipeline of one stage gives a flat object, one of several an object for each stage that answered."""
        head: dict[str, object] = {"at": utc(result.captured_s), "pipeline": self.pipeline}
        answers = list(result.answers.values())
        if len(self.stages) == 1 and len(answers) == 1:
            latency_ms = {"capture": result.capture_ms, **answers[0].latency_ms}
            return {
                **head,
                **self._release(answers[0]),
                "input": result.input,
                "task": answers[0].task,
                "results": list(answers[0].results),
                "latency_ms": latency_ms,
            }
        stages = {
            name: {
                **self._release(answer),
                "task": answer.task,
                "results": list(answer.results),
                "latency_ms": dict(answer.latency_ms),
            }
            for name, answer in result.answers.items()
        }
        return {**head, "input": result.input, "stages": stages, "latency_ms": {"capture": result.capture_ms}}

    def text(self, result: Result) -> bytes:
        """The tree as JSON on one line, without its end."""
        return compact(self.tree(result))

    def _release(self, answer: Answer) -> dict[str, str]:
        version = self.version_of(answer.digest)
        return {"digest": answer.digest} if version is None else {"digest": answer.digest, "version": version}


def result_tree(
    pipeline: str, result: Result, version_of: VersionOf = _no_version, *, stages: Collection[str] | None = None
) -> dict[str, object]:
    """`ResultFormat.tree`, where no format is kept. `stages` None: those that answered."""
    return ResultFormat(pipeline, tuple(result.answers) if stages is None else stages, version_of).tree(result)


def utc(at_s: float) -> str:
    """`2025-06-15T15:06:40.250Z`. A time that no calendar has is the nearest one that it has."""
    within_s = min(max(at_s, 0.0), 253_402_300_799.0)  # the last second of the year 9999
    return datetime.fromtimestamp(within_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def compact(tree: object) -> bytes:
    """What UTF-8 has not, of a file name that was none, is written as the escapes that JSON has for it."""
    return json.dumps(tree, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")


def writable(text: str) -> str:
    """The text as UTF-8 can hold it."""
    return text.encode("utf-8", "backslashreplace").decode()
