"""What a worker keeps for people, from a real pipeline's jobs to the picture."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge_agent.clock import SystemClock
from edge_agent.config.sinks import PreviewSink
from edge_agent.config.sources import FolderSource
from edge_agent.inference.ipc import Snapshot, SnapshotWritten, StageStart, Start, Word
from edge_agent.inference.job import Served, Turn
from edge_agent.inference.model import Model
from edge_agent.inference.showing import Showing
from edge_agent.release.manifest import Manifest
from edge_agent.tasks.segmentation import SegmentationDecoder
from edge_agent.transform.picture import WHOLE
from edge_agent.transform.tensor import TensorSpec
from tests.inference.test_pipeline import model
from tests.sim.engine import FakeEngine
from tests.sim.gallery import answered, plain


def segments() -> Model:
    """Always finds class 1 in the right half."""
    scores = np.zeros((1, 4, 4, 2), np.float32)
    scores[..., :2, 0] = scores[..., 2:, 1] = 1.0
    manifest: Manifest = replace(model(lambda _: []).manifest, task="segmentation")
    given = TensorSpec("input", (1, 4, 4, 1), np.dtype(np.float32))
    found = TensorSpec("scores", scores.shape, np.dtype(np.float32))
    return Model(manifest, (), FakeEngine([given], [found], lambda _: [scores]))


def bends() -> Model:
    """Always finds 17 keypoints, of which a line joins the first, top left, and the last, bottom right; bottom left are
    the others, which the usual lines lead over.
    """
    points = np.zeros((1, 1, 17, 3), np.float32)
    points[0, 0] = (0.75, 0.25, 0.9)  # y, x, score
    points[0, 0, 0], points[0, 0, 16] = (0.25, 0.25, 0.9), (0.75, 0.75, 0.9)
    made = model(lambda _: []).manifest
    manifest = replace(made, task="pose", output=replace(made.output, decoder="movenet", skeleton=((0, 16),)))
    given = TensorSpec("input", (1, 4, 4, 1), np.dtype(np.float32))
    found = TensorSpec("points", points.shape, np.dtype(np.float32))
    return Model(manifest, (), FakeEngine([given], [found], lambda _: [points]))


def showing(preview: PreviewSink | None, said: list[Word], *, keeps_pictures: bool) -> Showing:
    """Its preview is not opened: nobody is to listen."""
    start = Start("porch", FolderSource("folder", Path("p")), {"main": StageStart()}, preview, keeps_pictures)
    return Showing(start, said.append, SystemClock())


def keep(shown: Showing, seq: int, served: Model | None = None) -> None:
    served = served or segments()
    frame, _ = answered(seq, plain())
    prepared = served.prepare_image(frame.picture)
    outputs = served.invoke(prepared)
    _, result = answered(seq, plain(), WHOLE, *(each.to_json() for each in served.decode(outputs, prepared)))
    turn = Turn(Served("d" * 64, served), inputs=[prepared], outputs=[outputs])
    shown.keep(frame, result, {"main": turn})


@pytest.fixture
def maps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One item for each time that the class of every pixel was found out."""
    made: list[int] = []
    find = SegmentationDecoder.class_map

    def count(decoder: SegmentationDecoder, outputs: object, prepared: object) -> object:
        made.append(1)
        return find(decoder, outputs, prepared)  # type: ignore[arg-type]  # handed through

    monkeypatch.setattr(SegmentationDecoder, "class_map", count)
    return made


def test_a_snapshot_shows_the_classes_of_its_own_frame(tmp_path: Path, maps: list[int]) -> None:
    said: list[Word] = []
    shown = showing(None, said, keeps_pictures=True)
    for seq in (1, 2):
        keep(shown, seq)
    path = tmp_path / "a.jpg"
    shown.snapshot(Snapshot(1, str(path)))
    assert said == [SnapshotWritten(1, str(path))]
    with Image.open(path) as image:
        pixels = np.asarray(image).astype(int)
    assert abs(pixels[200, 20] - 90).max() < 8  # gray, as it was
    assert pixels[200, 300, 0] - pixels[200, 300, 1] > 30  # class 1 is painted red
    assert len(maps) == 2  # at once


def test_for_the_preview_classes_are_found_out_when_somebody_looks(maps: list[int]) -> None:
    shown = showing(PreviewSink("preview", 1), [], keeps_pictures=False)
    for seq in (1, 2, 3):
        keep(shown, seq)
    assert maps == []
    newest = shown._gallery.newest()
    assert newest is not None
    pixels = np.asarray(newest.drawn(320)).astype(int)
    assert pixels[200, 300, 0] > pixels[200, 20, 0]
    assert (maps, list(shown._gallery._kept)) == ([1], [3])


@pytest.mark.parametrize("keeps_pictures", [True, False])
def test_bodies_are_drawn_with_the_skeleton_of_the_manifest(tmp_path: Path, keeps_pictures: bool) -> None:  # noqa: FBT001
    shown = showing(PreviewSink("preview", 1), [], keeps_pictures=keeps_pictures)
    keep(shown, 1, bends())
    newest = shown._gallery.newest()
    assert newest is not None
    before, preview = np.asarray(plain()), np.asarray(newest.drawn(320))
    shown.snapshot(Snapshot(1, str(tmp_path / "a.jpg")))
    with Image.open(tmp_path / "a.jpg") as image:
        snapshot = np.asarray(image)
    for drawn in (preview, snapshot):
        assert np.abs(drawn[120, 160].astype(int) - before[120, 160]).max() > 60  # halfway down the line
