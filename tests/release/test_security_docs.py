"""docs/security.md names the test that shows each attack: all of these tests are there, and all attacks are named."""

import re
from pathlib import Path

import pytest

from tests.release.test_attacks import ATTACKS

ROOT = Path(__file__).parent.parent.parent
TEXT = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)(?:\[(\w+)\])?`", TEXT)


@pytest.mark.parametrize(("file", "name", "case"), NAMED)
def test_a_test_that_the_threat_model_names_exists(file: str, name: str, case: str) -> None:
    assert re.search(rf"^ *def {name}\(", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)
    assert case in ("", *(attack.__name__ for attack, _ in ATTACKS))


def test_every_attack_is_in_the_threat_model_and_every_row_names_a_test() -> None:
    assert {case for _, _, case in NAMED if case} == {attack.__name__ for attack, _ in ATTACKS}
    start, end = TEXT.index("## The threat model"), TEXT.index("## What time it is")
    rows = [line for line in TEXT[start:end].splitlines() if line.startswith("| ") and not line.startswith("| attack")]
    assert len(rows) > 20
    assert [row for row in rows if "::test_" not in row] == []
