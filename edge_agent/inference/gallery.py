"""The last few pictures of a worker with what was found in them, for snapshots and the preview.

Pictures are kept as they came and only rendered when somebody asks. HTTP is left to `preview`.
"""

import io
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Condition

from PIL import Image

from edge_agent.disk import open_disk
from edge_agent.errors import FrameError, StorageError
from edge_agent.inference.annotate import Look, draw_answers
from edge_agent.inference.frame import Frame
from edge_agent.inference.ipc import Result, SnapshotWritten
from edge_agent.transform.picture import EncodedPicture, Picture, YuvPicture
from edge_agent.transform.render import render

Looks = Callable[[], Mapping[str, Look]]  # by stage; asked when a picture is drawn
_MOST_PICTURES = 16  # the order for a snapshot follows its result by a few frames
_MOST_BYTES = 24_000_000  # seven of 1080p as YUV; but for the newest one, which is always kept
_SNAPSHOT_WIDTH_PX = 1920
_SNAPSHOT_QUALITY = 90


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """One picture and what the models said of it."""

    frame: Frame
    result: Result
    looks: Looks

    def drawn(self, width_px: int) -> Image.Image:
        """As RGB, at most so wide, with what was found drawn in.

        Raises:
            FrameError: it cannot be decoded.
        """
        rendered = render(self.frame.picture, self.frame.view, width_px)
        return draw_answers(
            rendered.image, self.result.answers, scale=rendered.scale, roi=self.frame.view.roi, looks=self.looks()
        )


class Gallery:
    """At most `most_pictures`, and `most_bytes` of them. Any thread may keep, look and wait."""

    def __init__(self, most_pictures: int = _MOST_PICTURES, most_bytes: int = _MOST_BYTES) -> None:
        self._most_pictures = most_pictures
        self._most_bytes = most_bytes
        self._changed = Condition()
        self._kept: OrderedDict[int, tuple[Kept, int]] = OrderedDict()  # by seq: and its bytes
        self._bytes = 0

    def keep(self, frame: Frame, result: Result, looks: Looks = dict) -> None:
        """Keep one more; the oldest go. Costs microseconds: it is called with every frame."""
        picture = frame.picture
        if isinstance(picture, EncodedPicture):
            picture = picture.bare()
            frame = replace(frame, picture=picture)
        size = _bytes_of(picture)
        with self._changed:
            self._kept[result.seq] = (Kept(frame, result, looks), size)
            self._bytes += size
            while len(self._kept) > 1 and (len(self._kept) > self._most_pictures or self._bytes > self._most_bytes):
                _, (_, gone) = self._kept.popitem(last=False)
                self._bytes -= gone
            self._changed.notify_all()

    def newest(self) -> Kept | None:
        with self._changed:
            return next(reversed(self._kept.values()))[0] if self._kept else None

    def wait_for_other(self, seq: int | None, timeout_s: float) -> None:
        """Until the newest one is another than `seq`, or the time is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._kept and next(reversed(self._kept)) != seq, timeout_s)

    def snapshot(self, seq: int, path: Path) -> SnapshotWritten:
        """Write the picture of this result as a JPEG, durably or not at all; its folder is made if it is missing."""
        with self._changed:
            kept, _ = self._kept.get(seq, (None, 0))
        if kept is None:
            return SnapshotWritten(seq, str(path), "the picture is not kept any more: the order came too late")
        try:
            content = jpeg(kept.drawn(_SNAPSHOT_WIDTH_PX), _SNAPSHOT_QUALITY)
            open_disk(path.parent).write_atomic(path.name, content)
        except (FrameError, StorageError) as error:
            return SnapshotWritten(seq, str(path), str(error))
        return SnapshotWritten(seq, str(path))


def jpeg(image: Image.Image, quality: int) -> bytes:
    """The bytes of a JPEG file."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _bytes_of(picture: Picture) -> int:
    if isinstance(picture, EncodedPicture):
        return len(picture.content)
    if isinstance(picture, YuvPicture):
        return picture.y.nbytes + picture.u.nbytes + picture.v.nbytes
    width, height = picture.size
    return width * height * len(picture.getbands())
