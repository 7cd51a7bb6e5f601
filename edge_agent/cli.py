"""`edge-agent`: the device's command line. Heavy parts are imported by the command that needs them.

Commands with many options stand in `edge_agent/commands/`.
"""

import json
import logging
import os
from pathlib import Path
from typing import Any

import click

from edge_agent import __version__, console
from edge_agent.commands.bench import bench
from edge_agent.commands.doctor import doctor
from edge_agent.commands.infer import infer
from edge_agent.commands.keys import keys
from edge_agent.commands.options import config_option
from edge_agent.config.agent import Config, read_config
from edge_agent.config.pipeline import PipelineConfig, StageConfig
from edge_agent.config.sinks import WebhookSink
from edge_agent.config.sources import paths_of
from edge_agent.errors import ConfigError, counted


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="edge-agent")
def cli() -> None:
    """Run models on this device, and take, prove and roll back their releases."""


@cli.command()
@config_option
@click.option("-v", "--verbose", is_flag=True, help="Log every step.")
def run(config_path: Path, verbose: bool) -> None:  # noqa: FBT001
    """Run the agent until it is told to stop."""
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(levelname)s %(name)s: %(message)s"
        if os.environ.get("JOURNAL_STREAM")
        else "%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    from edge_agent.service.compose import run_agent

    run_agent(read_config(config_path))


@cli.command("check-config")
@config_option
def check_config(config_path: Path) -> None:
    """Check a configuration and say what it makes the agent do.

    As the agent's user it also finds what that one may not read: sudo -u edge-agent edge-agent check-config
    """
    config = read_config(config_path)
    problems = [f"{what}: {path} {wrong}" for what, path in _files_of(config) if (wrong := _wrong_with(path))]
    click.echo(f"{config_path}: device {config.device_id}, {counted(len(config.pipeline), 'pipeline')}")
    for name, pipeline, stage in _stages_of(config):
        click.echo(f"  {name}: {pipeline.source.kind} → {stage.model} (channel {stage.channel})")
    if config.mqtt is None:
        click.echo("  no [mqtt]: only the `initial` artifacts run, and nothing is updated")
        # No error: a device that had a broker once runs what is installed
        for name in (name for name, _, stage in _stages_of(config) if stage.initial is None):
            click.echo(f"  {name}: no `initial` either: nothing runs unless a release is installed already")
    if problems:
        raise ConfigError(
            "\n  ".join([f"{counted(len(problems), 'path')} cannot be used:", *problems]),
            hint="paths are relative to the configuration; make what is missing, and let the agent's user read it",
        )


@cli.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def status(config_path: Path, as_json: bool) -> None:  # noqa: FBT001
    """What this device runs and what its updates are doing; also while the agent is stopped."""
    from edge_agent.service.local import read_status

    found = read_status(read_config(config_path))
    if as_json:
        click.echo(json.dumps(found, indent=1))
        return
    click.echo(f"{found['device']}: agent {'running' if found['running'] else 'not running'}")
    for pipeline, stages in found["pipelines"].items():
        for name, stage in stages.items():
            title = pipeline if len(stages) == 1 else f"{pipeline}/{name}"
            click.echo(f"  {title}: {_sentence(stage)}")


@cli.command()
@click.argument("pipeline")
@config_option
@click.option("--stage", help="Which stage, where the pipeline has several.")
def rollback(pipeline: str, config_path: Path, stage: str | None) -> None:
    """Go back to the release before, and do not take the present one again."""
    from edge_agent.service.local import roll_back

    now = roll_back(read_config(config_path), pipeline, stage)
    click.echo(f"{pipeline}: {_sentence(now)}")


for command in (bench, doctor, infer, keys):
    cli.add_command(command)


def main() -> None:
    console.run(cli, {ConfigError: console.EXIT_ASKED_WRONGLY})


def _stages_of(config: Config) -> list[tuple[str, PipelineConfig, StageConfig]]:
    return [(name, pipeline, stage) for name, pipeline in config.pipeline.items() for stage in pipeline.stage.values()]


def _files_of(config: Config) -> list[tuple[str, Path]]:
    files: list[tuple[str, Path | None]] = []
    for name, pipeline in config.pipeline.items():
        files += [(f"pipeline.{name}.source", path) for path in paths_of(pipeline.source)]
        files += [(f"pipeline.{name}.initial", stage.initial) for stage in pipeline.stage.values()]
        for position, sink in enumerate(pipeline.sinks):
            if isinstance(sink, WebhookSink):
                files.append((f"pipeline.{name}.sinks[{position}].header_file", sink.header_file))
    if config.mqtt is not None:
        names = ("password_file", "ca_file", "cert_file", "key_file")
        files += [(f"mqtt.{name}", getattr(config.mqtt, name)) for name in names]
    files.append(("update.ca_file", config.update.ca_file))
    if config.trust is not None:
        files += [("trust.root", config.trust.root), ("trust.key_file", config.trust.key_file)]
    return [(what, path) for what, path in files if path is not None]


def _wrong_with(path: Path) -> str | None:
    try:
        path.stat()
    except FileNotFoundError:
        return "does not exist"
    except OSError as error:
        return f"cannot be reached: {error.strerror}"
    if path.suffix == ".edge" and path.is_dir():
        return "is a folder, not an artifact"
    return None if os.access(path, os.R_OK) else "may not be read by this user"


def _sentence(stage: dict[str, Any]) -> str:
    """One stage in words: `digits 1.0.0 committed; trial of 2.0.0 (start 1)`."""
    current = stage.get("current")
    words = [f"{stage['model']} {_name(current)}" if current else f"{stage['model']}: nothing installed"]
    if stage["phase"] != "idle":
        words.append(f"{stage['phase']} {_name(stage.get('candidate') or {})}")
    last = stage.get("last")
    if last:
        reason = f" ({': '.join(filter(None, (last['reason'], last.get('detail'))))})" if last.get("reason") else ""
        words.append(f"last: {last['result']} {last.get('version') or last['digest'][:12]}{reason}")
    held = stage.get("held")
    if held:
        words.append(f"does not take {held['version']} ({held['reason']}: {held['detail']})")
    if "held_unknown" in stage:
        words.append(f"whether it holds a newer release is not known ({stage['held_unknown']})")
    problem = stage.get("problem")
    if problem:
        hint = f" ({problem['hint']})" if problem.get("hint") else ""
        words.append(f"problem: {problem['detail']}{hint}")
    return "; ".join(words)


def _name(release: dict[str, str]) -> str:
    """Its version, where that is known."""
    return release.get("version") or release.get("digest", "")[:12]


if __name__ == "__main__":
    main()
