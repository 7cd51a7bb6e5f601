"""What a worker keeps its pictures for."""

import socket
from pathlib import Path

import pytest

from edge_agent.clock import SystemClock
from edge_agent.config.sinks import PreviewSink
from edge_agent.config.sources import FolderSource
from edge_agent.inference.ipc import StageStart, Start
from edge_agent.inference.pictures import open_pictures
from edge_agent.inference.pipeline import PictureKeeper
from tests.sim.gallery import put
from tests.sim.waiting import until


def start(preview: PreviewSink | None = None, *, keeps_pictures: bool = False) -> Start:
    return Start("porch", FolderSource("folder", Path("p")), {"main": StageStart()}, preview, keeps_pictures)


def test_nobody_looks_and_nothing_is_kept() -> None:
    with open_pictures(start(), print, SystemClock()) as gallery:
        assert gallery is None


def test_for_snapshots_the_last_few_are_kept_and_for_the_preview_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_agent.inference.preview._POLL_S", 0.01)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    shows = PreviewSink("preview", port)
    for begun, kept in ((start(keeps_pictures=True), 3), (start(shows), 1), (start(shows, keeps_pictures=True), 3)):
        with open_pictures(begun, print, SystemClock()) as gallery:
            assert gallery is not None
            keeper: PictureKeeper = gallery  # what the pipeline hands its pictures to
            assert keeper is gallery
            for seq in (1, 2, 3):
                put(gallery, seq)
            assert len(gallery._kept) == kept
            if begun.preview is not None:
                until(lambda: is_served(port))
    assert not is_served(port)


def is_served(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
