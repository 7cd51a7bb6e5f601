"""Every disk operation of every story is cut once, for each way a disk may forget; then the code is broken."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from edge_agent.disk import Disk, DiskOperations
from tests.power.exploration import SURVIVALS, explore, explore_kills
from tests.power.stories import NAMES, story
from tests.sim.disk import Survival


@pytest.mark.parametrize("survival", SURVIVALS, ids=lambda survival: survival.name.lower())
@pytest.mark.parametrize("name", NAMES)
def test_no_power_cut_does_harm(name: str, survival: Survival, tmp_path: Path) -> None:
    assert list(explore(story(name, tmp_path), survival)) == []


@pytest.mark.parametrize(
    "name", ["first_install", "update", "initial", "withdraw", "fall_back", "garbage", "schema_upgrade"]
)
def test_no_power_cut_after_a_killed_process_does_harm(name: str, tmp_path: Path) -> None:
    assert list(explore_kills(story(name, tmp_path))) == []


class _Without:
    """Disk operations of which one does nothing."""

    def __init__(self, operations: DiskOperations, dropped: str) -> None:
        self._operations = operations
        self._dropped = dropped

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name == self._dropped:
            return lambda *_: None
        return cast("Callable[..., Any]", getattr(self._operations, name))


class WithoutFileSync(Disk):
    def __init__(self, operations: DiskOperations) -> None:
        super().__init__(cast("DiskOperations", _Without(operations, "sync_file")))


class WithoutDirectorySync(Disk):
    def __init__(self, operations: DiskOperations) -> None:
        super().__init__(cast("DiskOperations", _Without(operations, "sync_directory")))


class ReplaceBeforeSync(Disk):
    def write_atomic(self, name: str, content: bytes) -> None:
        parent = name.rpartition("/")[0] or "."
        self.make_directory(parent)
        self._do.write(name + ".tmp", 0, content)
        self._do.replace(name + ".tmp", name)
        self._do.sync_file(name)
        self._do.sync_directory(parent)


class InPlace(Disk):
    def write_atomic(self, name: str, content: bytes) -> None:
        parent = name.rpartition("/")[0] or "."
        self.make_directory(parent)
        self._do.remove_file(name)
        self._do.write(name, 0, content)
        self._do.sync_file(name)
        self._do.sync_directory(parent)


class AdoptWithoutSync(Disk):
    def adopt_directory(self, source: str, target: str) -> None:
        self.make_directory(target.rpartition("/")[0])
        self._do.replace(source, target)
        self._do.sync_directory(target.rpartition("/")[0])


class TrustsDirectoriesThatAreThere(Disk):
    def make_directory(self, name: str) -> None:
        if not self.exists(name):
            super().make_directory(name)


class NeverSettles(Disk):
    def settle(self, name: str) -> None:
        """Trust what is there."""


@pytest.mark.parametrize("broken", [TrustsDirectoriesThatAreThere, NeverSettles])
def test_trusting_what_a_killed_process_left_does_harm_that_is_found(broken: type[Disk], tmp_path: Path) -> None:
    stories = (story(name, tmp_path) for name in ("first_install", "update", "initial"))

    assert next((bad for told in stories for bad in explore_kills(told, broken)), None) is not None


@pytest.mark.parametrize(
    "broken", [WithoutFileSync, WithoutDirectorySync, ReplaceBeforeSync, InPlace, AdoptWithoutSync]
)
@pytest.mark.parametrize("name", ["first_install", "update", "roll_back"])
def test_a_broken_disk_module_does_harm_that_is_found(name: str, broken: type[Disk], tmp_path: Path) -> None:
    found = (bad for survival in SURVIVALS for bad in explore(story(name, tmp_path), survival, broken))

    assert next(found, None) is not None
