"""What the documents claim: commands, reasons, topics, keys and figures are those of the code."""

import ast
import json
import re
from dataclasses import fields
from pathlib import Path
from typing import get_args

import click
import pytest

from benchmarks.documents import TABLES, with_table
from benchmarks.run import BENCHMARKS
from converter.cli import cli as edgectl
from edge_agent.cli import cli as edge_agent
from edge_agent.errors import Reason
from edge_agent.link.topics import Topics
from edge_agent.release.inputs import AudioInput, ImageInput, SignalInput
from edge_agent.release.manifest import Limits, Manifest, Runtime
from edge_agent.release.outputs import DetectionDecoder, OutputSpec, TaskName

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("program", "group"), [("edgectl", edgectl), ("edge-agent", edge_agent)])
def test_every_command_is_in_the_readme_and_the_readme_names_no_other(program: str, group: click.Group) -> None:
    named = set(re.findall(rf"{program} (?!{program})([a-z-]+)", README))
    rows = [line for line in README.splitlines() if line.startswith(f"| `{program}")]
    listed = {name for row in rows for name in re.findall(r"`(?:[a-z-]+ )?([a-z-]+)", row.split("|")[1])}
    assert set(group.commands) <= listed
    assert named <= set(group.commands)


def test_every_option_that_the_readme_shows_exists() -> None:
    for program, group in (("edgectl", edgectl), ("edge-agent", edge_agent)):
        for command, rest in re.findall(rf"^{program} ([a-z]+) ([^\n|]*)", README, re.MULTILINE):
            known = {name for parameter in _leaf(group.commands[command], rest).params for name in parameter.opts}
            assert set(re.findall(r"--[a-z-]+", rest)) <= known, f"{program} {command}"


def test_every_reason_is_explained_to_the_operator() -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    assert [reason.value for reason in Reason if f"`{reason.value}`" not in text] == []


def test_every_topic_is_in_the_wire_protocol() -> None:
    text = (ROOT / "docs" / "mqtt-interface.md").read_text(encoding="utf-8")
    names = [name for name in vars(Topics) if not name.startswith("_") and name not in ("prefix", "device_of")]
    assert [name for name in names if f"/{name}" not in text] == []


def test_every_key_of_the_manifest_is_described() -> None:
    text = (ROOT / "docs" / "artifact-format.md").read_text(encoding="utf-8")
    kinds = (Manifest, ImageInput, SignalInput, AudioInput, OutputSpec, Runtime, Limits)
    names = {field.name for kind in kinds for field in fields(kind)}
    assert sorted(name for name in names if not re.search(rf"`[^`]*\b{name}\b", text)) == []


RESULTS = json.loads((ROOT / "benchmarks" / "results.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", TABLES)
def test_the_figures_in_the_documents_are_those_that_make_bench_printed(name: str) -> None:
    place, table = TABLES[name]
    document = (ROOT / place).read_text(encoding="utf-8")
    assert with_table(document, name, table(RESULTS)) == document


def test_every_benchmark_has_a_row_and_its_figures_are_those_of_a_whole_run() -> None:
    assert list(RESULTS) == [benchmark.name for benchmark in BENCHMARKS]
    for benchmark in BENCHMARKS:
        bound = benchmark.claims[0].bound.replace(">=", "≥").replace("<=", "≤")
        assert re.search(rf"`{benchmark.name}`.* \| {RESULTS[benchmark.name]['ratio']} \| {bound} \|\n", README)


def test_a_table_is_written_between_its_marks_and_nothing_else_changes() -> None:
    document = "before\n\n<!-- figures -->\n\nold\n\n<!-- /figures -->\n\nbehind\n"
    assert with_table(document, "figures", "| a \\1 |") == document.replace("old", "| a \\1 |")
    with pytest.raises(ValueError, match="no <!-- other -->"):
        with_table(document, "other", "")


_TASK_MODULES: dict[TaskName, str] = {
    "classification": "classification", "signal_classification": "classification", "audio_classification":
    "classification", "detection": "nms", "pose": "poses", "segmentation": "segmentation", "regression": "regression",
    "anomaly": "anomaly", "raw": "raw",
}  # fmt: skip


def test_every_task_and_every_head_says_whose_definition_it_follows() -> None:
    folder = ROOT / "edge_agent" / "tasks"
    assert set(get_args(TaskName)) - set(_TASK_MODULES) == {"plugin"}  # whose definition is its author's
    heads = {f"heads/{path.stem}" for path in folder.glob("heads/*.py") if "Head:\n" in path.read_text("utf-8")}
    assert {f"heads/{name}" for name in get_args(DetectionDecoder)} <= heads
    for name in sorted({*_TASK_MODULES.values(), *heads}):
        said = ast.get_docstring(ast.parse((folder / f"{name}.py").read_text(encoding="utf-8"))) or ""
        assert re.search(r"arXiv|[\w-]+/[\w./-]+\.(cc|h|py|pbtxt)|MLSDA", said), f"{name}.py cites no source"


def test_links_between_documents_lead_somewhere() -> None:
    for document in [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]:
        text = document.read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (document.parent / target).exists(), f"{document.name}: {target}"
        for target in re.findall(r"`((?:docs|systemd|tests|examples|benchmarks|edge_agent|converter)/[\w./-]*)`", text):
            assert (ROOT / target).exists(), f"{document.name}: {target}"


def _leaf(command: click.Command, rest: str) -> click.Command:
    """`keys init` is a command of a group."""
    return command.commands[rest.split(maxsplit=1)[0]] if isinstance(command, click.Group) else command


@pytest.mark.parametrize("group", [edgectl, edge_agent])
def test_every_option_of_every_command_explains_itself(group: click.Group) -> None:
    commands = [
        command
        for each in group.commands.values()
        for command in (each.commands.values() if isinstance(each, click.Group) else [each])
    ]
    silent = [
        f"{command.name} {parameter.opts[0]}"
        for command in commands
        for parameter in command.params
        if isinstance(parameter, click.Option) and not parameter.help
    ]
    assert silent == []
