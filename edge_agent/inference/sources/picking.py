"""Around every source of pictures: what of a picture is looked at, and whether anything has moved in it.

Which pictures are used at all (`every_n`, `max_fps`) is left to `thinning`, which the sources ask themselves where that
spares them work.
"""

from dataclasses import replace
from types import TracebackType
from typing import Self

from PIL import Image

from edge_agent.clock import Clock
from edge_agent.config.sources import PictureOptions
from edge_agent.errors import FrameError
from edge_agent.inference.frame import Frame, Nothing, Taken, Unusable, Wanted
from edge_agent.inference.sources.motion import Gate, orientation_of
from edge_agent.inference.sources.source import Source
from edge_agent.inference.sources.thinning import Thinning
from edge_agent.transform.orientation import lies_down, turned
from edge_agent.transform.picture import EncodedPicture, Picture, Rotation, View, decoding
from edge_agent.transform.placement import Box

_ROTATIONS: tuple[Rotation, ...] = (0, 90, 180, 270)


class Picked:
    """`source`, with `rotate_deg`, `roi` and `motion` of its options applied; `thinning` where it does not ask itself.

    What the gate holds back is counted in `gated`, and given as `Nothing(left_out=True)`: it has not been dropped.
    """

    def __init__(self, source: Source, options: PictureOptions, clock: Clock, thinning: Thinning | None = None) -> None:
        self._source = source
        self._options = options
        self._clock = clock
        self._thinning = thinning
        self._gate = Gate(options.motion) if options.motion is not None else None
        self.gated = 0

    def __enter__(self) -> Self:
        self._source.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._source.__exit__(kind, error, trace)

    def take(self, wanted: Wanted) -> Taken | Unusable | Nothing | None:
        item = self._source.take(wanted)
        if not isinstance(item, Frame):
            return item
        if self._thinning is not None and not self._thinning.lets_through():
            return Nothing()
        try:
            view = viewed(item.picture, item.view, self._options)
            if self._gate is not None and not self._gate.lets_through(item.picture, self._clock.monotonic_s(), view):
                self.gated += 1
                return Nothing(left_out=True)
        except FrameError as error:
            return Unusable(item.name, str(error))
        return item if view == item.view else replace(item, view=view)


def viewed(picture: Picture, own: View, options: PictureOptions) -> View:
    """What the options want to see of a picture that its source wants to be seen as `own`.

    A region of the source's own is given up where the options turn the picture further, or name another one.

    Raises:
        FrameError: the picture cannot be opened.
    """
    if not options.rotate_deg and options.roi is None:
        return own
    rotate_deg = _ROTATIONS[(own.rotate_deg + options.rotate_deg) // 90 % 4]
    if options.roi is None:
        return View(rotate_deg)
    with decoding(picture.name if isinstance(picture, EncodedPicture) else "the picture"):
        lying = lies_down(turned(orientation_of(picture), rotate_deg))
    size_px = picture.size if isinstance(picture, Image.Image) else picture.size_px
    width, height = size_px[::-1] if lying else size_px
    left, top, right, bottom = options.roi
    return View(rotate_deg, Box(left * width, top * height, right * width, bottom * height))
