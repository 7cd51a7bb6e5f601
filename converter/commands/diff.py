"""`edgectl diff`: what is different between two models or artifacts."""

import json
from pathlib import Path

import click

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("before", type=_PATH)
@click.argument("after", type=_PATH)
@click.option("--no-patches", is_flag=True, help="Do not find out what a patch would save.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def diff(before: Path, after: Path, *, no_patches: bool, as_json: bool) -> None:
    """Show what is different between BEFORE and AFTER, each a .tflite or an .edge.

    Manifest, labels, operators, tensors, weights by layer; and what a device that has BEFORE would fetch for AFTER.
    """
    from converter.diff import diff_files, format_diff

    tree = diff_files(before, after, patches=not no_patches)
    click.echo(json.dumps(tree) if as_json else format_diff(tree))
