"""docs/converter.md names every key of a recipe, and no other scheme than there are."""

import dataclasses
import re
from pathlib import Path

from converter.recipe import SCHEMES, DeviceLimits, Gate, Recipe
from edge_agent.release.inputs import AudioInput, ImageInput, SignalInput
from edge_agent.release.manifest import Runtime
from edge_agent.release.outputs import OutputSpec

TEXT = (Path(__file__).parents[2] / "docs" / "converter.md").read_text(encoding="utf-8")


def test_every_key_of_a_recipe_is_documented() -> None:
    names = {
        field.name
        for kind in (Recipe, Gate, DeviceLimits, ImageInput, SignalInput, AudioInput, OutputSpec, Runtime)
        for field in dataclasses.fields(kind)
    }
    words = set(re.findall(r"\w+", TEXT))
    assert names - words - {"limits", "device"} == set()


def test_every_scheme_has_its_row() -> None:
    assert tuple(re.findall(r"^\| `(\w+)` \| .* \| 0\.\d\d \|$", TEXT, re.MULTILINE)) == SCHEMES
