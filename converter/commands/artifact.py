"""What commands that take an artifact share: reading it, for whom it is encrypted, how far it has been sent."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_agent.errors import InputError
from edge_agent.release.archive import Artifact, read_artifact

if TYPE_CHECKING:
    from converter.publish.seals import ReleaseSeal
    from converter.publish.sending import Sent

ENCRYPT_TO = click.option(
    "--encrypt-to",
    "recipients",
    type=click.Path(path_type=Path),
    help="Only these devices can read it: a file with a line 'edge-x25519:… NAME' for each, or a directory of such.",
)
PATCH_FROM = click.option(
    "--patch-from",
    "patch_files",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Make patches against this artifact too; may be given several times.",
)


def read_artifact_file(file: Path) -> Artifact:
    if file.suffix in (".tflite", ".keras", ".h5", ".pb", ".onnx", ".pt2", ".pt", ".pth"):
        raise InputError(
            f"{file} is a model, not an artifact", hint=f"make one first: edgectl convert {file} -o NAME-VERSION.edge"
        )
    return read_artifact(file)


def seal_of(artifact: Artifact, keys_dir: Path, recipients: Path | None) -> "ReleaseSeal | None":
    """For these recipients; or as it was before: what was encrypted once does not go out in the clear by mistake."""
    from converter.publish.recipients import read_recipients
    from converter.publish.seals import kept_seal, seal_for

    if recipients is None:
        return kept_seal(keys_dir, artifact.digest)
    return seal_for(keys_dir, artifact.digest, read_recipients(recipients))


def describe_sent(sent: "Sent") -> str:
    return (
        f"sent {sent.bytes_sent:,} bytes in {sent.chunks_sent} of {sent.chunks} chunks, "
        f"re-used {sent.bytes_reused:,} bytes"
    )


@contextmanager
def show_progress(file: Path) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr, from the first byte sent to the last; nothing where there is nothing to send."""
    bar: Any = None
    with ExitStack() as shown:

        def show(done_bytes: int, total_bytes: int) -> None:
            nonlocal bar
            if bar is None:
                label = f"sending {file.name}"
                bar = shown.enter_context(click.progressbar(length=total_bytes, label=label, file=sys.stderr))
            bar.update(done_bytes - bar.pos)

        yield show
