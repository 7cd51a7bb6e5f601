"""What all sources of pictures promise, and plugins among them."""

from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from edge_agent.config.sources import FolderSource, PluginSource, SyntheticSource, VideoSource
from edge_agent.errors import SourceError
from edge_agent.inference.frame import Frame, Nothing, Sample, Wanted
from edge_agent.inference.sources.source import Source
from tests.inference.releases import write_pictures
from tests.inference.sources.pictures import names, open_source, take_all
from tests.inference.sources.test_video import write_video
from tests.sim.source import SimSource, picture, sample


@pytest.fixture(params=["folder", "video", "synthetic", "simulated"])
def three_items(request: pytest.FixtureRequest, tmp_path: Path) -> Source:
    """Sources that give three pictures, played once."""
    match request.param:
        case "folder":
            return open_source(FolderSource("folder", write_pictures(tmp_path, 3)))
        case "video":
            return open_source(VideoSource("video", write_video(tmp_path / "v.avi"), every_n=4))
        case "synthetic":
            return open_source(SyntheticSource("synthetic", count=3))
    return SimSource(["a", "b", "c"])


def test_every_source_gives_each_item_once_then_nothing_and_can_be_opened_again(three_items: Source) -> None:
    for _ in range(2):
        with three_items as source:
            first = [source.take(Wanted()) for _ in range(5)]
        assert [isinstance(item, Frame) for item in first] == [True, True, True, False, False]
        assert first[3:] == [None, None]
        assert all(item.captured_s >= 0 for item in first if isinstance(item, Frame))


class EntryPoints(dict[str, Any]):
    """Stands in for what is installed."""

    def __call__(self, *, group: str, name: str | None = None) -> metadata.EntryPoints:
        points = [metadata.EntryPoint(key, f"{__name__}:{self[key]}", group) for key in self]
        return metadata.EntryPoints(point for point in points if name in (None, point.name))


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> EntryPoints:
    points = EntryPoints(shutter="open_shutter", tank="open_tank")
    monkeypatch.setattr(metadata, "entry_points", points)
    return points


def open_shutter(config: PluginSource, clock: Any) -> Source:
    return SimSource([picture(f"{config.options['prefix']}{number}") for number in range(6)])


def open_tank(config: PluginSource, clock: Any) -> Source:
    return SimSource([sample(1, 2.0, channels=config.columns)])


@pytest.mark.usefixtures("installed")
def test_a_source_of_another_distribution_is_opened_with_its_options_and_ours() -> None:
    config = PluginSource("plugin", "shutter", "pictures", options={"prefix": "p"}, every_n=2, roi=(0, 0, 0.5, 1))
    with open_source(config) as source:
        items = [source.take(Wanted()) for _ in range(7)]
    assert names(item for item in items if isinstance(item, Frame)) == ["p0", "p2", "p4"]
    assert items[1] == Nothing()
    assert isinstance(items[0], Frame)
    assert items[0].view.roi is not None
    assert items[6] is None


@pytest.mark.usefixtures("installed")
def test_a_plugin_may_give_rows() -> None:
    with open_source(PluginSource("plugin", "tank", "rows", columns=("level",))) as source:
        assert [type(item) for item in take_all(source)] == [Sample]


@pytest.mark.usefixtures("installed")
def test_a_plugin_that_is_not_installed_is_told_with_those_that_are() -> None:
    with pytest.raises(SourceError, match="shutter, tank") as caught:
        open_source(PluginSource("plugin", "lidar", "rows"))
    assert caught.value.hint
