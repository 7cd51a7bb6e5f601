"""Every operator of ours gives what ONNX Runtime gives."""

import json
import subprocess
import sys

import pytest

from converter.frontends.extras import require


@pytest.fixture(scope="module")
def differences() -> dict[str, float | str]:
    """How far the two are apart in each case of `onnx_cases`."""
    require("onnx", "this test")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.frontends.onnx_cases"],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, float | str] = json.loads(done.stdout)
    return found


def test_all_operators_answer_as_onnx_runtime_does(differences: dict[str, float | str]) -> None:
    wrong = {name: told for name, told in differences.items() if isinstance(told, str) or not told < 1e-5}
    assert wrong == {}
    assert len(differences) > 120
