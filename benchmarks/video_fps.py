"""How near a worker comes to the slower of its two halves on a 720p H.264 video with MobileNetV2.

As `worker_fps`; preparing is decoding the video and making the input tensor of its planes.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.releases import hd_video, mobilenet_release
from benchmarks.worker_fps import invoking, loop_fps, report
from benchmarks.workers import MeasuredWorker
from edge_agent.clock import SystemClock
from edge_agent.config.sources import VideoSource
from edge_agent.inference.frame import Frame, Wanted
from edge_agent.inference.model import Model, open_release
from edge_agent.inference.sources.source import new_source

_ROUNDS = 5
_FRAMES = 800


def main() -> dict[str, float]:
    """Measure, print one JSON line and a table, and return the figures."""
    with tempfile.TemporaryDirectory() as temporary:
        release = mobilenet_release(Path(temporary) / "release")
        source = VideoSource("video", hd_video(Path(temporary) / "video.mp4"), repeat=True)
        rounds = []
        with open_release(release) as model:
            for _ in range(_ROUNDS):
                with _frames(source) as frames:
                    limits = (loop_fps(invoking(model), _FRAMES), loop_fps(_preparing(model, frames), _FRAMES))
                with MeasuredWorker(source, release) as worker:
                    rounds.append((*limits, worker.fps(_FRAMES, warm_up=100)))
    return report("video_fps", "worker, 720p H.264", rounds)


@contextmanager
def _frames(config: VideoSource) -> Iterator[Iterator[Frame]]:
    """The frames of a source, one after the other."""
    with new_source(config, SystemClock()) as source:
        yield (item for item in iter(lambda: source.take(Wanted()), None) if isinstance(item, Frame))


def _preparing(model: Model, frames: Iterator[Frame]) -> Callable[[int], object]:
    def step(_: int) -> object:
        frame = next(frames)
        return model.prepare_image(frame.picture, frame.view)

    return step


if __name__ == "__main__":
    main()
