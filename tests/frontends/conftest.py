"""Everything here is marked `frontends`; `make test-frontends` runs it in an environment with all the frameworks.

A framework may not be loaded into the tests' own process: what makes a model runs in a child (`make_model`).
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.converter.conftest import digits

__all__ = ["digits"]

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.frontends)
            item.add_marker(pytest.mark.timeout(600))  # a framework takes seconds to load, minutes on a busy machine


@pytest.fixture
def make_model(tmp_path: Path) -> Callable[[str], Path]:
    """Run a script whose working directory is the test's folder; gives that folder."""

    def run(script: str) -> Path:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return tmp_path

    return run
