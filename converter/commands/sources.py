"""The options that name web servers which devices ask before the broker."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from edge_agent.release.document import check_sources

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Sources:
    urls: tuple[str, ...] = ()
    ca_file: Path | None = None
    unchecked: bool = False

    def check(self, release: str, chunks: Mapping[str, bytes]) -> None:
        """Raise PublishError unless each of them serves the whole release."""
        if self.urls and not self.unchecked:
            from converter.publish.export import check_served

            for url in self.urls:
                check_served(url, release, chunks, self.ca_file)


def source_options(command: Command) -> Command:
    """Adds the options; the command gets `sources`."""

    def with_sources(
        source: tuple[str, ...],
        source_ca: Path | None,
        unchecked_source: bool,  # noqa: FBT001  # click hands options over by name
        **others: Any,
    ) -> Any:
        try:
            check_sources(source)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--source") from error
        return command(sources=Sources(source, source_ca, unchecked_source), **others)

    with_sources.__name__, with_sources.__doc__ = command.__name__, command.__doc__
    with_sources.__click_params__ = getattr(command, "__click_params__", [])  # type: ignore[attr-defined]  # click's own
    wrapped: Any = with_sources
    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    typed: Command = wrapped
    return typed


_OPTIONS = [
    click.option(
        "--source",
        multiple=True,
        metavar="URL",
        help="An https:// directory with what 'edgectl export' made, which devices ask before the broker.",
    ),
    click.option(
        "--source-ca",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Certificate authority of the sources, if not the system's.",
    ),
    click.option("--unchecked-source", is_flag=True, help="Do not look whether the sources serve the release already."),
]
