"""`make demo` does what the README says of it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.system
@pytest.mark.timeout(300)
def test_the_demo_ends_by_itself_and_its_summary_says_what_happened() -> None:
    command = [sys.executable, "-m", "examples.demo", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    summary = json.loads(line)
    assert summary["committed"] == ["digits-1.0.0", "linescan-1.0.0", "digits-2.0.0", "digits-4.0.0"]
    assert (summary["rejected"], summary["reason"]) == (["digits-3.0.0"], "golden_mismatch")
    assert 0 < summary["bytes_delta"] < summary["bytes_full"] / 2
    assert summary["p95_ms"] > 0
    assert summary["recovered"] is True
    assert summary["results"] > 0
