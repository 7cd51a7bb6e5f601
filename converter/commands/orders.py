"""`edgectl release revert` and `retry`: orders that nothing but a signature can give."""

from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from converter.commands.artifact import read_artifact_file, show_progress
from converter.commands.ordering import give, publisher_options, tell
from converter.commands.rollout import rollout

if TYPE_CHECKING:
    from converter.publish.orders import Publisher

_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")


@click.group()
def release() -> None:
    """Orders about the release of a channel: back to the one before, or try again what was rejected."""


@release.command()
@click.option("--to", metavar="VERSION", help="Version, or digest, to go back to; default: the one before.")
@click.option(
    "--artifact",
    "file",
    type=click.Path(path_type=Path),
    help="Its .edge file, where the broker has lost it or the document does not know it.",
)
@_JSON
@publisher_options
def revert(to: str | None, file: Path | None, as_json: bool, publisher: "Publisher") -> None:  # noqa: FBT001  # by name
    """Order every device of a channel back to an earlier release of MODEL.

    No device takes the present one any more, and devices that have it give it up.
    """
    now = datetime.now(UTC)
    with ExitStack() as shown:
        if file is None:
            ordered = publisher.revert(now, to=to)
        else:
            artifact = read_artifact_file(file)
            progress = shown.enter_context(show_progress(artifact.path))
            ordered = publisher.revert(now, to=to, artifact=artifact, progress=progress)
    tell(ordered, as_json=as_json)


@release.command()
@_JSON
@publisher_options
def retry(as_json: bool, publisher: "Publisher") -> None:  # noqa: FBT001  # by name
    """Have devices that rejected the present release of MODEL try it once more.

    A device that rejects it again is asked again only by another 'retry'.
    """
    from converter.publish import succession

    give(publisher, lambda there, number, now: succession.retry(there.target, number, now), as_json=as_json)


rollout.add_command(revert)
