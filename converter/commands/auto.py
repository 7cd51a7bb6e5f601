"""The options of `edgectl convert --auto`, and how it tells what it is at."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from converter.errors import RecipeError
from edge_agent.errors import ConfigError
from edge_agent.release.manifest import IDENTIFIER

if TYPE_CHECKING:
    from converter.broker import Broker
    from converter.quantization.auto import Auto
    from edge_agent.release.archive import Artifact

Command = TypeVar("Command", bound=Callable[..., Any])

_SIZES = {"": 1, "b": 1, "kb": 1000, "mb": 1000**2, "kib": 1024, "mib": 1024**2}
_NAMES = ("max_drop", "max_size", "max_latency", "target")


def auto_options(command: Command) -> Command:
    """What a search for the best quantization is held to."""
    options = [
        click.option("--auto", is_flag=True, help="Search for the best way to quantize within the limits below."),
        click.option("--max-drop", help="Largest loss of accuracy, else of agreement with the float model; 1%."),
        click.option("--max-size", help="Of the model: bytes, or with kB, MB, KiB, MiB."),
        click.option("--max-latency", help="Of an invoke, ms, where the latency is measured."),
        click.option(
            "--target",
            help="Where the model will run: pi4, pi5, zero2w; or the id of a device, which then measures (--broker).",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def take_auto(options: dict[str, Any]) -> "Auto | None":
    """What these options ask for; they are taken out of `options`.

    Raises:
        RecipeError: with every problem.
    """
    wanted, given = bool(options.pop("auto")), {name: options.pop(name) for name in _NAMES}
    given = {name: value for name, value in given.items() if value is not None}
    if not wanted:
        if given:
            raise RecipeError(f"{', '.join(map(_option, given))}: only a search is held to it", hint="add --auto")
        return None
    from converter.quantization.auto import Auto
    from converter.quantization.search import Limits
    from converter.quantization.targets import TARGETS

    target = given.get("target")
    if target is not None and not IDENTIFIER.fullmatch(target):
        raise RecipeError(f"--target: expected one of {', '.join(TARGETS)}, or the id of a device, found {target!r}")
    if target in TARGETS and "max_latency" in given:
        raise RecipeError(
            f"--max-latency: what a model takes on a {TARGETS[target].name} is not known here; only a device can tell",
            hint="leave out --target to hold it to the latency of this machine, or leave out --max-latency",
        )
    try:
        limits = Limits(
            _share(given.get("max_drop", "1%")),
            _bytes(given["max_size"]) if "max_size" in given else None,
            _milliseconds(given["max_latency"]) if "max_latency" in given else None,
        )
    except ValueError as error:
        raise RecipeError(str(error), hint="for example --max-drop 1% --max-size 2MB --max-latency 5ms") from error
    if target is None or target in TARGETS:
        return Auto(limits, TARGETS[target] if target else None)
    return Auto(limits, where=target)


def bench_on(device: str, keys_dir: Path, connect: "Callable[[], Broker] | None") -> "Callable[[Artifact], float]":
    """How a device is asked for the median ms of an invoke.

    Raises:
        ConfigError: nobody has said which broker.
    """
    if connect is None:
        raise ConfigError(
            f"--target {device} is the id of a device, which is asked over a broker, and none was named",
            hint="--broker URL, or EDGECTL_BROKER; kinds of machines are pi4, pi5 and zero2w",
        )
    from converter.fleet.bench import bench_on_device, latency_ms
    from converter.publish.keys import read_keys

    signers = read_keys(keys_dir)
    return lambda artifact: latency_ms(
        bench_on_device(artifact, device, signers, connect, progress=lambda *_: None), device
    )


def show_progress(text: str) -> None:
    """On stderr: one line that is written over where that is a terminal."""
    if sys.stderr.isatty():
        click.echo(f"\r\x1b[K{text[:100]}", err=True, nl=False)
    elif not text.startswith("layer "):
        click.echo(text, err=True)


def end_progress() -> None:
    """Clear the line of `show_progress`."""
    if sys.stderr.isatty():
        click.echo("\r\x1b[K", err=True, nl=False)


def ignore_progress(_: str) -> None:
    """Nobody looks on."""


def _share(text: str) -> float:
    number = re.fullmatch(r"(\d+(?:\.\d+)?) *(%?)", text.strip())
    if not number:
        raise ValueError(f"--max-drop: expected a share like 1% or 0.01, found {text!r}")
    return float(number[1]) / (100 if number[2] else 1)


def _bytes(text: str) -> int:
    number = re.fullmatch(r"(\d+(?:\.\d+)?) *([a-z]*)", text.strip().lower())
    if not number or number[2] not in _SIZES or float(number[1]) == 0:
        raise ValueError(f"--max-size: expected a size like 2MB or 500000, found {text!r}")
    return int(float(number[1]) * _SIZES[number[2]])


def _milliseconds(text: str) -> float:
    number = re.fullmatch(r"(\d+(?:\.\d+)?) *(ms)?", text.strip())
    if not number or float(number[1]) == 0:
        raise ValueError(f"--max-latency: expected milliseconds like 5 or 5ms, found {text!r}")
    return float(number[1])


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
