"""A folder as a source: played once, again and again, or watched."""

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.config.sources import FolderSource
from edge_agent.errors import SourceError
from edge_agent.inference.frame import Frame, Nothing, Unusable, Wanted
from edge_agent.inference.sources.watching import Arrivals
from edge_agent.transform.picture import EncodedPicture
from tests.inference.releases import write_picture, write_pictures
from tests.inference.sources.pictures import jpeg, names, open_source, picture, png, take_all
from tests.sim.clock import FakeClock


def test_a_folder_gives_its_pictures_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("b.jpg", "a.jpg", "c.jpg"):
        write_picture(tmp_path / name)
    with open_source(FolderSource("folder", tmp_path)) as source:
        frames = take_all(source)
    assert names(frames) == ["a.jpg", "b.jpg", "c.jpg"]


def test_a_picture_is_told_by_its_content_and_not_decoded_yet(tmp_path: Path) -> None:
    write_picture(tmp_path / "picture.txt")
    with open_source(FolderSource("folder", tmp_path)) as source:
        found = picture(source.take(Wanted()))
    assert isinstance(found, EncodedPicture)
    assert found.size_px == (64, 48)


def test_files_that_are_no_pictures_cost_only_themselves(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").write_text("<html>not found</html>")
    (tmp_path / "c.jpg").write_bytes(b"")
    (tmp_path / "d.png").write_bytes(png((20_000, 20_000)))
    (tmp_path / "e.png").write_bytes(png((1, 1)))
    with open_source(FolderSource("folder", tmp_path)) as source:
        items = take_all(source)
    assert names(items) == ["a.jpg", "b.jpg", "c.jpg", "d.png", "e.png"]
    assert [type(item) for item in items] == [Frame, Unusable, Unusable, Unusable, Frame]
    details = [item.detail for item in items if isinstance(item, Unusable)]
    assert "not a picture" in details[0]
    assert "0 bytes" in details[1]
    assert "d.png has 20000 x 20000 px" in details[2]


def test_subfolders_dot_files_and_pipes_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / ".DS_Store").write_bytes(b"\0")
    os.mkfifo(tmp_path / "pipe.jpg")  # reading it would wait for ever
    write_picture(tmp_path / "a.jpg")
    with open_source(FolderSource("folder", tmp_path)) as source:
        assert names(take_all(source)) == ["a.jpg"]


def test_every_third_picture_is_every_third(tmp_path: Path) -> None:
    with open_source(FolderSource("folder", write_pictures(tmp_path, 7), every_n=3)) as source:
        assert names(take_all(source)) == ["000.jpg", "003.jpg", "006.jpg"]


def test_a_repeating_folder_sees_pictures_that_come_and_go(tmp_path: Path) -> None:
    write_pictures(tmp_path, 2)
    with open_source(FolderSource("folder", tmp_path, repeat=True)) as source:
        assert names(take_all(source, at_most=2)) == ["000.jpg", "001.jpg"]
        (tmp_path / "000.jpg").unlink()
        write_picture(tmp_path / "new.jpg")
        assert names(take_all(source, at_most=3)) == ["001.jpg", "new.jpg", "001.jpg"]


@pytest.mark.parametrize("exists", [True, False], ids=["empty", "missing"])
def test_a_folder_without_pictures_is_told_with_a_hint(tmp_path: Path, exists: bool) -> None:  # noqa: FBT001
    folder = tmp_path / "pictures"
    if exists:
        folder.mkdir()
    with pytest.raises(SourceError, match="pictures") as caught, open_source(FolderSource("folder", folder)):
        pass
    assert caught.value.hint is not None
    assert "by itself" not in caught.value.hint  # who tries again says so, and not everybody does


def test_a_repeating_folder_of_other_files_is_an_error_and_not_an_endless_loop(tmp_path: Path) -> None:
    (tmp_path / "README.txt").write_text("pictures come here")
    with open_source(FolderSource("folder", tmp_path, repeat=True)) as source:
        assert isinstance(source.take(Wanted()), Unusable)
        with pytest.raises(SourceError, match=r"none of its files \(1\) is a picture"):
            source.take(Wanted())


# --- watched ------------------------------------------------------------------------------------------------


def watched(folder: Path) -> FolderSource:
    return FolderSource("folder", folder, watch=True)


def test_a_watched_folder_gives_what_is_there_and_then_what_comes_each_once(tmp_path: Path) -> None:
    write_pictures(tmp_path, 2)
    with open_source(watched(tmp_path)) as source:
        assert names(take_all(source, asks=10)) == ["000.jpg", "001.jpg"]
        write_picture(tmp_path / "new.jpg")
        assert names(take_all(source, asks=10)) == ["new.jpg"]
        assert take_all(source, asks=10) == []


def test_waiting_for_new_files_takes_time_and_no_more_than_a_moment(tmp_path: Path) -> None:
    clock = FakeClock()
    with open_source(watched(tmp_path), clock) as source:
        assert source.take(Wanted()) == Nothing()
    assert 0 < clock.monotonic_s() <= 1


def test_a_file_that_is_being_written_is_given_once_it_is_whole(tmp_path: Path) -> None:
    content = jpeg()
    with open_source(watched(tmp_path)) as source, (tmp_path / "a.jpg").open("wb") as file:
        for begin in range(0, len(content), 200):
            file.write(content[begin : begin + 200])
            file.flush()
            assert source.take(Wanted()) == Nothing()
        items = take_all(source, asks=4)
    assert names(items) == ["a.jpg"]
    assert isinstance(picture(items[0]), EncodedPicture)


def test_a_file_that_stays_empty_is_told_in_the_end(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    with open_source(watched(tmp_path)) as source:
        assert take_all(source, asks=10) == []
        items = take_all(source, asks=30)
    assert [type(item) for item in items] == [Unusable]


def test_a_file_written_anew_is_a_new_picture(tmp_path: Path) -> None:
    write_picture(tmp_path / "latest.jpg", 10)
    with open_source(watched(tmp_path)) as source:
        assert names(take_all(source, asks=10)) == ["latest.jpg"]
        write_picture(tmp_path / "latest.jpg", 250)
        os.utime(tmp_path / "latest.jpg", ns=(0, 12_345))  # however fast the test is
        assert names(take_all(source, asks=10)) == ["latest.jpg"]


def test_a_watched_folder_that_vanishes_and_comes_back_goes_on_and_gives_nothing_twice(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "usb", 2)
    away = tmp_path / "away"
    source = open_source(watched(folder))
    with source:
        assert len(take_all(source, asks=10)) == 2
    shutil.copytree(folder, away)  # keeps the times
    shutil.rmtree(folder)
    with pytest.raises(SourceError, match="usb") as caught, source:
        take_all(source, asks=10)
    assert caught.value.hint
    shutil.copytree(away, folder)
    write_picture(folder / "new.jpg")
    with source:
        assert names(take_all(source, asks=10)) == ["new.jpg"]


def test_a_disk_that_is_unplugged_below_its_folder_does_not_give_its_pictures_again() -> None:
    arrivals = Arrivals()
    files = [("a.jpg", 10, 1), ("b.jpg", 10, 2)]
    assert arrivals.look(files) == []
    assert arrivals.look(files) == ["a.jpg", "b.jpg"]
    assert arrivals.look([]) == []
    assert [arrivals.look(files), arrivals.look(files)] == [[], []]


@given(
    looks=st.lists(
        st.lists(st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 2), st.integers(0, 2)), unique_by=lambda x: x[0])
    )
)
def test_whatever_happens_to_files_each_state_is_given_at_most_once(looks: list[list[tuple[str, int, int]]]) -> None:
    arrivals = Arrivals()
    last: dict[str, tuple[int, int]] = {}
    for look in looks:
        state = {name: (size, changed_ns) for name, size, changed_ns in look}
        for name in arrivals.look(look):
            assert last.get(name) != state[name]
            last[name] = state[name]
