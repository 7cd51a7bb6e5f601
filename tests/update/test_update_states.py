"""docs/update-states.md says what the machine does."""

import runpy
from pathlib import Path
from typing import get_args

from edge_agent.update import machine

DOCS = Path(__file__).parent.parent.parent / "docs"


def test_the_page_of_update_states_is_current() -> None:
    page = runpy.run_path(str(DOCS / "generate_update_states.py"))["page"]()

    assert (DOCS / "update-states.md").read_text(encoding="utf-8") == page, "run docs/generate_update_states.py"


def test_the_page_of_update_states_tells_of_every_transition_and_step() -> None:
    page = (DOCS / "update-states.md").read_text(encoding="utf-8")
    transitions = {
        name
        for name, thing in vars(machine).items()
        if callable(thing) and getattr(thing, "__annotations__", {}).get("return") is machine.Record
    }
    steps = {kind.__name__ for kind in get_args(machine.Step)}

    assert {name for name in transitions if f"| `{name}` |" not in page} == set()
    assert {name for name in steps if f"**{name}**" not in page} == set()
