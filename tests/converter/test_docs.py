"""docs/converter.md names every key of a recipe, and no other scheme than there are."""

import dataclasses
import re
from pathlib import Path

from converter.commands.model import convert
from converter.recipe import SCHEMES, DeviceLimits, Gate, Recipe
from converter.report.page import format_report
from edge_agent.release.archive import read_artifact
from edge_agent.release.inputs import AudioInput, ImageInput, SignalInput
from edge_agent.release.manifest import Runtime
from edge_agent.release.outputs import OutputSpec
from tests.converter.test_report import report

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "converter.md").read_text(encoding="utf-8")


def test_every_key_of_a_recipe_is_documented() -> None:
    names = {
        field.name
        for kind in (Recipe, Gate, DeviceLimits, ImageInput, SignalInput, AudioInput, OutputSpec, Runtime)
        for field in dataclasses.fields(kind)
    }
    words = set(re.findall(r"\w+", TEXT))
    assert names - words - {"limits", "device"} == set()


def test_every_option_of_convert_is_documented() -> None:
    options = {name for option in convert.params for name in (*option.opts, *option.secondary_opts) if name[0] == "-"}
    assert options - set(re.findall(r"`(--?[a-z][a-z-]*)`", TEXT)) - {"-h", "--help"} == set()


def test_every_scheme_has_its_row() -> None:
    assert tuple(re.findall(r"^\| `(\w+)` \| .* \| 0\.\d\d \|$", TEXT, re.MULTILINE)) == SCHEMES


def test_the_sections_of_a_report_are_documented() -> None:
    text = (DOCS / "report.md").read_text(encoding="utf-8")
    told = re.findall(r"^\| ([A-Z][^|]+) \|", text, re.MULTILINE)
    assert told == re.findall(r"<h2>(.*?)</h2>", format_report(report()).decode())


def test_all_of_provenance_is_documented(int8: Path) -> None:
    told = (DOCS / "report.md").read_text(encoding="utf-8").partition("## The same bytes")[2]
    provenance = read_artifact(int8).manifest.provenance
    assert set(re.findall(r"^\| `(\w+)` \|", told, re.MULTILINE)) == set(provenance)
