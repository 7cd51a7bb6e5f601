"""What all tests share: where the shared data is, and that it is skipped with a reason where it is not."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.sim.broker import Mosquitto, run_mosquitto

# How long an example takes says more of what else runs on the machine than of the code.
settings.register_profile("ours", deadline=None)
settings.load_profile("ours")

SHARED_DATA = Path(__file__).parent.parent.parent / "shared" / "data"
FRONTENDS = Path(__file__).parent / "frontends"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Tests of the front-ends run only where somebody names them: they need an environment of their own."""
    named = any(FRONTENDS in (path, *path.parents) for path in map(_path_of, config.args))
    return True if collection_path == FRONTENDS and not named else None


def _path_of(argument: str) -> Path:
    return Path(argument.split("::", maxsplit=1)[0]).absolute()


@pytest.fixture
def shared_data() -> Path:
    """The folder of real models, pictures and recordings. Mark the test with `shared_data` too."""
    if not SHARED_DATA.is_dir():
        pytest.skip("needs ../shared/data, which is not beside this checkout")
    return SHARED_DATA


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    """A real broker on a loopback port, without users and without persistence."""
    with run_mosquitto(tmp_path) as broker:
        yield broker
