"""Everything here is marked `frontends`; `make test-frontends` runs it in an environment with all the frameworks.

A framework may not be loaded into the tests' own process: what makes a model runs in a child (`make_model`). The
children of the converter are forked from a process that has loaded it (`warm`), but for tests marked `cold`.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.converter.conftest import digits
from tests.frontends.warm import Templates

__all__ = ["digits"]

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.frontends)
            item.add_marker(pytest.mark.timeout(600))  # a framework takes seconds to load, minutes on a busy machine


@pytest.fixture(scope="session")
def templates() -> Iterator[Templates]:
    with Templates() as running:
        yield running


@pytest.fixture(autouse=True)
def _warm(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, templates: Templates) -> None:
    if request.node.get_closest_marker("cold") is None:
        monkeypatch.setattr("converter.child._start", templates.start)


def run_script(script: str, folder: Path) -> None:
    """Make models in a child whose working directory is `folder`."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture
def make_model(tmp_path: Path) -> Callable[[str], Path]:
    """Run a script whose working directory is the test's folder; gives that folder."""

    def run(script: str) -> Path:
        run_script(script, tmp_path)
        return tmp_path

    return run
