"""Every path on which something is written is cut: what docs/architecture.md says of it, and what the stories do."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import pytest

from edge_agent.update import machine, upgrade
from edge_agent.update.patching import Patching
from edge_agent.update.staging import Staging
from edge_agent.update.store import ReleaseStore
from tests.power import test_trust_cuts
from tests.power.stories import NAMES, PATHS, story

PAGE = Path(__file__).parent.parent.parent / "docs" / "architecture.md"
# What the project promises to cut (issue 4, point 5).
PROMISED = [
    "fetch", "patch", "adopt", "activate", "trial", "commit", "reject", "withdraw", "fall back", "garbage collection",
    "key rotation", "schema upgrade",
]  # fmt: skip
_ROW = re.compile(r"^\| ([a-z ]+) \| (`.*`) \|$", re.MULTILINE)


def table() -> dict[str, set[str]]:
    """Path → stories, as the page has it."""
    _, _, below = PAGE.read_text(encoding="utf-8").partition("| path | stories that are cut |")
    return {path: set(re.findall(r"`([^`]+)`", stories)) for path, stories in _ROW.findall(below)}


def test_every_path_is_in_the_table_with_its_stories_and_no_other() -> None:
    found = table()

    assert list(found) == PROMISED
    assert found.pop("key rotation") == {f"test_trust_cuts::{name}" for name in _trust_tests()}
    assert found == {path: set(stories) for path, stories in PATHS.items()}


def test_every_story_is_of_some_path() -> None:
    assert set(NAMES) - {name for stories in PATHS.values() for name in stories} == set()


def _trust_tests() -> list[str]:
    return [name for name in vars(test_trust_cuts) if name.startswith("test_a_power_cut")]


@pytest.mark.parametrize(("path", "name"), [(path, name) for path, stories in PATHS.items() for name in stories])
def test_a_story_takes_the_path_that_it_is_told_for(
    path: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = story(name, tmp_path)
    device = told.make()
    with taken(monkeypatch) as paths:
        told.act(device.boot())

    assert path in paths


class Steps(dict[int, Callable[[Any], Any]]):
    """Ways from a schema to the next, of which it can be seen that one was taken."""

    def __getitem__(self, schema: int) -> Callable[[Any], Any]:
        return super().__getitem__(schema)


@contextmanager
def taken(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """The paths that the code takes meanwhile."""
    paths: set[str] = set()

    def watch(owner: Any, name: str, path: str, counts: Callable[..., bool] = lambda *_: True) -> None:
        original = getattr(owner, name)

        @wraps(original)
        def watched(*arguments: Any, **options: Any) -> Any:
            before = _state(arguments)
            try:
                return original(*arguments, **options)
            finally:
                if counts(before, _state(arguments)):
                    paths.add(path)

        patch.setattr(owner, name, watched)

    with monkeypatch.context() as patch:
        for name in ("activate", "commit", "reject", "withdraw", "fall_back"):
            watch(machine, name, name.replace("_", " "))
        watch(Staging, "put", "fetch")
        watch(Patching, "_apply", "patch")
        watch(machine, "started", "trial")
        watch(ReleaseStore, "adopt", "adopt")
        watch(ReleaseStore, "sweep", "garbage collection", lambda before, after: before != after)
        watch(Steps, "__getitem__", "schema upgrade")
        patch.setattr(upgrade, "STEPS", Steps(upgrade.STEPS))
        yield paths


def _state(arguments: tuple[Any, ...]) -> list[str]:
    """What a store holds, where the call is one of a store."""
    return [
        name
        for store in arguments
        if isinstance(store, ReleaseStore)
        for folder in ("releases", "staging")
        for name in store.disk.names(folder)
    ]
