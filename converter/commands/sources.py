"""The options that name web servers which devices ask before the broker."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from converter.commands.options import Command, with_options
from edge_agent.release.document import check_sources


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

    return with_options(command, with_sources, _OPTIONS)


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
