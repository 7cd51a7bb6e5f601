"""The last pictures of a worker: kept within bounds, and written as JPEG when an order comes."""

import io
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from PIL import Image

from edge_agent.inference.annotate import color_of
from edge_agent.inference.gallery import Gallery
from edge_agent.transform.picture import WHOLE, EncodedPicture, View, YuvPicture, open_picture
from edge_agent.transform.placement import Box
from tests.sim.gallery import plain, put
from tests.sim.results import found


def kept(gallery: Gallery) -> list[int]:
    return list(gallery._kept)


def test_a_snapshot_is_the_picture_of_that_result_with_what_was_found(tmp_path: Path) -> None:
    gallery = Gallery()
    for seq, gray in ((1, 50), (2, 200), (3, 90)):
        put(gallery, seq, plain(gray=gray), WHOLE, found("cat", box=(40, 60, 200, 180)))
    path = tmp_path / "cats" / "cat.jpg"
    written = gallery.snapshot(2, path)
    assert (written.seq, written.path, written.problem) == (2, str(path), None)
    with Image.open(path) as image:
        pixels = np.asarray(image)
    assert image.format == "JPEG"
    assert abs(int(pixels[220, 300, 0]) - 200) < 5
    edge = pixels[60, 40:200].astype(int)
    assert color_of(0)[1] == 255  # green, which JPEG smears
    assert (edge[:, 1] - edge[:, 0]).min() > 50
    assert [file.name for file in path.parent.iterdir()] == ["cat.jpg"]


def test_too_late_an_order_is_told(tmp_path: Path) -> None:
    gallery = Gallery(most_pictures=2)
    for seq in (1, 2, 3):
        put(gallery, seq)
    assert kept(gallery) == [2, 3]
    assert "not kept any more" in (gallery.snapshot(1, tmp_path / "a.jpg").problem or "")
    assert list(tmp_path.iterdir()) == []


def test_large_pictures_push_out_more_but_the_newest_stays() -> None:
    gallery = Gallery(most_pictures=10, most_bytes=500_000)
    for seq in (1, 2, 3, 4):
        put(gallery, seq, plain((320, 240)))  # 230,400 bytes
    assert kept(gallery) == [3, 4]
    put(gallery, 5, plain((1000, 1000)))
    assert kept(gallery) == [5]
    put(gallery, 6)
    assert kept(gallery) == [6]


def test_a_picture_is_kept_without_what_was_decoded_of_it() -> None:
    buffer = io.BytesIO()
    plain().save(buffer, "JPEG")
    picture = open_picture(buffer.getvalue(), "a.jpg")
    picture.decoded("RGB")
    gallery = Gallery()
    put(gallery, 1, picture)
    newest = gallery.newest()
    assert newest is not None
    assert isinstance(newest.frame.picture, EncodedPicture)
    assert newest.frame.picture._decoded == {}
    assert newest.frame.picture.content is picture.content


def test_planes_are_rendered_and_turned(tmp_path: Path) -> None:
    planes = YuvPicture(
        np.full((240, 320), 128, np.uint8), np.full((120, 160), 128, np.uint8), np.full((120, 160), 128, np.uint8)
    )
    gallery = Gallery()
    put(gallery, 1, planes, View(90, Box(10, 10, 100, 100)))
    assert gallery.snapshot(1, tmp_path / "a.jpg").problem is None
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.size == (240, 320)


def test_a_picture_that_cannot_be_decoded_and_a_disk_that_cannot_be_written_are_told(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    plain().save(buffer, "PNG")
    gallery = Gallery()
    put(gallery, 1, open_picture(buffer.getvalue()[:400], "half.png"))
    assert "half.png" in (gallery.snapshot(1, tmp_path / "a.jpg").problem or "")
    put(gallery, 2)
    (tmp_path / "file").touch()
    assert gallery.snapshot(2, tmp_path / "file" / "a.jpg").problem
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_whoever_waits_is_woken_by_another_picture() -> None:
    gallery = Gallery()
    waiting = Thread(target=gallery.wait_for_other, args=(None, 60.0))
    waiting.start()
    put(gallery, 1)
    waiting.join(20)
    assert not waiting.is_alive()
    gallery.wait_for_other(1, 0.001)  # the same one: gives up in time


@pytest.mark.parametrize("view", [WHOLE, View(0, Box(0, 0, 50, 50))])
def test_what_was_kept_is_drawn_as_small_as_wanted(view: View) -> None:
    gallery = Gallery()
    put(gallery, 1, None, view)
    newest = gallery.newest()
    assert newest is not None
    assert newest.drawn(100).size == (100, 75)
