"""What a worker keeps its pictures for, as its `Start` wants it: snapshots, the preview, both, or nothing."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from edge_agent.clock import Clock
from edge_agent.inference.ipc import Start, Word
from edge_agent.inference.sinks.tree import ResultFormat

if TYPE_CHECKING:
    from edge_agent.inference.gallery import Gallery


@contextmanager
def open_pictures(start: Start, say: Callable[[Word], None], clock: Clock) -> Iterator["Gallery | None"]:
    """The gallery to keep every picture in, with the preview that shows it; None: nobody will look.

    What draws and serves is imported only where it is wanted: it costs a worker memory.
    """
    if start.preview is None and not start.keeps_pictures:
        yield None
        return
    from edge_agent.inference.gallery import Gallery

    gallery = Gallery() if start.keeps_pictures else Gallery(most_pictures=1)
    if start.preview is None:
        yield gallery
        return
    from edge_agent.inference.preview import Preview

    results = ResultFormat(start.pipeline, tuple(start.stages))
    with Preview(start.preview, results, gallery, say, clock):
        yield gallery
