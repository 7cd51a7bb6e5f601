"""Thinning, regions, rotation and the motion gate, around any source of pictures."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from edge_agent.config.sources import MotionGate, PictureOptions
from edge_agent.errors import FrameError
from edge_agent.inference.frame import Frame, Nothing, Unusable, Wanted
from edge_agent.inference.sources.motion import Gate, thumbnail
from edge_agent.inference.sources.picking import Picked
from edge_agent.inference.sources.thinning import Thinning
from edge_agent.transform.picture import EncodedPicture, Picture, View, YuvPicture, open_picture
from edge_agent.transform.placement import Box
from tests.inference.sources.pictures import jpeg, seen
from tests.sim.clock import FakeClock
from tests.sim.source import SimSource


def scene(x: int = 0, *, noise: int = 0, size_px: tuple[int, int] = (640, 480)) -> Image.Image:
    """A gray wall, and from `x` on a white door of a tenth of the width."""
    rng = np.random.default_rng(noise)
    pixels = np.full((size_px[1], size_px[0]), 90, np.int16) + rng.integers(-noise, noise + 1, size_px[::-1])
    pixels[:, x : x + size_px[0] // 10] = 250
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).convert("RGB")


def as_yuv(image: Image.Image) -> YuvPicture:
    y = np.asarray(image.convert("L"))
    gray = np.full(((y.shape[0] + 1) // 2, (y.shape[1] + 1) // 2), 128, np.uint8)
    return YuvPicture(y, gray, gray, full_range=True)


def as_jpeg(image: Image.Image, **more: Any) -> EncodedPicture:
    import io

    encoded = io.BytesIO()
    image.save(encoded, format="JPEG", **more)
    return open_picture(encoded.getvalue(), "test")


KINDS = pytest.mark.parametrize("kind", [lambda image: image, as_yuv, as_jpeg], ids=["rgb", "yuv", "jpeg"])


def picked(pictures: Iterable[Picture], options: PictureOptions, clock: FakeClock | None = None) -> Picked:
    frames = [Frame(str(number), 0.0, picture) for number, picture in enumerate(pictures)]
    return Picked(SimSource(frames), options, clock or FakeClock())


def answers(source: Picked, count: int) -> list[str]:
    """The names of the frames, and a dot for what is left out."""
    with source:
        items = [source.take(Wanted()) for _ in range(count)]
    return [item.name if isinstance(item, Frame) else "." for item in items]


# --- motion -------------------------------------------------------------------------------------------------


@KINDS
def test_only_what_moves_is_let_through_and_noise_is_not_movement(kind: Any) -> None:
    pictures = [kind(scene(x, noise=noise)) for x, noise in ((0, 1), (0, 20), (1, 5), (200, 3), (200, 9), (0, 4))]
    source = picked(pictures, PictureOptions(motion=MotionGate()))
    assert answers(source, 6) == ["0", ".", ".", "3", ".", "5"]
    assert source.gated == 3


@KINDS
def test_what_moves_slowly_is_let_through_once_it_has_come_far_enough(kind: Any) -> None:
    pictures = [kind(scene(x)) for x in range(0, 120, 4)]
    found = answers(picked(pictures, PictureOptions(motion=MotionGate(threshold=0.05))), 30)
    through = [int(name) for name in found if name != "."]
    assert through[0] == 0
    assert 3 <= len(through) <= 15


def test_what_is_held_back_is_said_to_be_left_out_and_not_dropped() -> None:
    with picked([scene(), scene()], PictureOptions(motion=MotionGate())) as source:
        assert isinstance(source.take(Wanted()), Frame)
        assert source.take(Wanted()) == Nothing(left_out=True)
        assert source.take(Wanted()) is None


def test_after_a_while_one_is_let_through_though_nothing_moves() -> None:
    clock = FakeClock()
    source = picked([scene()] * 5, PictureOptions(motion=MotionGate(max_still_s=10)), clock)
    found = []
    with source:
        for _ in range(5):
            item = source.take(Wanted())
            found.append(isinstance(item, Frame))
            clock.advance(4)
    assert found == [True, False, False, True, False]


@KINDS
def test_what_moves_outside_of_the_region_is_none_of_our_business(kind: Any) -> None:
    gate = PictureOptions(motion=MotionGate(), roi=(0.5, 0.0, 1.0, 1.0))
    assert answers(picked([kind(scene(x)) for x in (0, 100, 200, 400)], gate), 4) == ["0", ".", ".", "3"]


def test_the_region_is_that_of_the_upright_picture() -> None:
    """The same door, stored lying on its side: what is right of the upright picture is at the bottom."""
    lying = [as_jpeg(scene(x).transpose(Image.Transpose.ROTATE_90), exif=_exif(6)) for x in (0, 100, 400)]
    gate = PictureOptions(motion=MotionGate(), roi=(0.5, 0.0, 1.0, 1.0))
    assert answers(picked(lying, gate), 3) == ["0", ".", "2"]


def test_a_picture_of_another_size_has_moved() -> None:
    gate = Gate(MotionGate())
    assert gate.lets_through(scene(), 0.0)
    assert gate.lets_through(scene(size_px=(480, 640)), 0.0)


@KINDS
def test_a_thumbnail_is_64_px_long_and_of_the_part_that_is_looked_at(kind: Any) -> None:
    picture = kind(scene(320))
    assert thumbnail(picture).shape == (48, 64)
    part = thumbnail(picture, View(0, Box(320, 0, 352, 16)))
    assert part.shape == (32, 64)
    assert part.min() > 240
    assert thumbnail(kind(scene(size_px=(1, 1)))).shape == (64, 64)


def test_a_picture_that_cannot_be_decoded_costs_only_itself() -> None:
    broken = open_picture(jpeg(size_px=(640, 480))[:700], "broken")
    with picked([broken, scene()], PictureOptions(motion=MotionGate())) as source:
        item = source.take(Wanted())
        assert isinstance(item, Unusable)
        assert "broken" in item.detail
        assert isinstance(source.take(Wanted()), Frame)
    with pytest.raises(FrameError):
        thumbnail(broken)


# --- view ---------------------------------------------------------------------------------------------------


@KINDS
def test_a_region_is_given_in_px_of_the_turned_picture(kind: Any) -> None:
    options = PictureOptions(rotate_deg=90, roi=(0.0, 0.5, 1.0, 1.0))
    with picked([kind(scene(600))], options) as source:
        frame = source.take(Wanted())
    assert isinstance(frame, Frame)
    assert frame.view == View(90, Box(0.0, 320.0, 480.0, 640.0))
    rows = seen(frame.picture, (1, 10), frame.view).mean(axis=(1, 2))
    assert (rows[:6].max() < 110, rows[-1] > 200) == (True, True)  # the door on the right is at the bottom now


def test_exif_turns_the_picture_before_the_options_do() -> None:
    options = PictureOptions(rotate_deg=90, roi=(0.0, 0.0, 0.5, 1.0))
    with picked([as_jpeg(scene(), exif=_exif(6))], options) as source:
        frame = source.take(Wanted())
    assert isinstance(frame, Frame)
    assert frame.view == View(90, Box(0.0, 0.0, 320.0, 480.0))


def test_a_source_that_turns_its_pictures_is_turned_further() -> None:
    frame = Frame("0", 0.0, scene(), View(270))
    with Picked(SimSource([frame]), PictureOptions(rotate_deg=180), FakeClock()) as source:
        taken = source.take(Wanted())
    assert isinstance(taken, Frame)
    assert taken.view == View(90)


def test_without_options_a_frame_is_handed_on_as_it_is() -> None:
    frame = Frame("0", 0.0, scene(), View(90, Box(0, 0, 10, 10)))
    with Picked(SimSource([frame]), PictureOptions(), FakeClock()) as source:
        assert source.take(Wanted()) is frame


# --- thinning -----------------------------------------------------------------------------------------------


def test_a_camera_of_30_a_second_is_thinned_to_10_on_the_average_whatever_its_rhythm() -> None:
    clock = FakeClock()
    thinning = Thinning(clock, max_fps=10)
    through = 0
    for number in range(300):
        through += thinning.lets_through()
        clock.advance(0.0301 if number % 2 else 0.0365)
    assert through == pytest.approx(100, abs=2)


def test_after_a_pause_nothing_is_made_up_for() -> None:
    clock = FakeClock()
    thinning = Thinning(clock, max_fps=10)
    assert thinning.lets_through()
    clock.advance(60)
    assert [thinning.lets_through() for _ in range(5)] == [True, True, False, False, False]


@given(every_n=st.integers(1, 7), seen_count=st.integers(0, 50))
def test_every_nth_is_used_from_the_first_on(every_n: int, seen_count: int) -> None:
    thinning = Thinning(FakeClock(), every_n=every_n)
    used = [number for number in range(seen_count) if thinning.lets_through()]
    assert used == list(range(0, seen_count, every_n))


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif
