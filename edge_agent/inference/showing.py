"""What a worker keeps for people to look at: the pictures with what was found, for snapshots and the preview.

Only made where the configuration asks for it: nothing here is imported otherwise.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from edge_agent.clock import Clock
from edge_agent.inference.annotate import Look, look_of
from edge_agent.inference.frame import Frame
from edge_agent.inference.gallery import Gallery
from edge_agent.inference.ipc import Result, Snapshot, Start
from edge_agent.inference.job import Turn
from edge_agent.inference.preview import Preview
from edge_agent.inference.sinks.tree import ResultFormat
from edge_agent.inference.telling import Say


class Showing:
    """The gallery of a worker, and its preview while this is open."""

    def __init__(self, start: Start, say: Say, clock: Clock) -> None:
        self._keeps_pictures = start.keeps_pictures
        self._gallery = Gallery() if start.keeps_pictures else Gallery(most_pictures=1)
        self._say = say
        results = ResultFormat(start.pipeline, tuple(start.stages))
        self._preview = Preview(start.preview, results, self._gallery, say, clock) if start.preview else None
        self._open = ExitStack()

    def __enter__(self) -> Self:
        if self._preview is not None:
            self._open.enter_context(self._preview)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def keep(self, frame: Frame, result: Result, turns: Mapping[str, Turn]) -> None:
        """See `telling.PictureKeeper`.

        Which class every pixel is of is found out at once for snapshots, since what the model gave may be many
        megabytes a frame; for the preview, which needs the newest only, when somebody looks.
        """
        find = partial(_looks, {stage: turn for stage, turn in turns.items() if turn.outputs and not turn.parents})
        if self._keeps_pictures:
            found = find()
            self._gallery.keep(frame, result, lambda: found)
        else:
            self._gallery.keep(frame, result, find)

    def snapshot(self, order: Snapshot) -> None:
        self._say(self._gallery.snapshot(order.seq, Path(order.path)))


def _looks(turns: Mapping[str, Turn]) -> dict[str, Look]:
    return {stage: look_of(turn.served.model, turn.outputs[0], turn.inputs[0]) for stage, turn in turns.items()}
