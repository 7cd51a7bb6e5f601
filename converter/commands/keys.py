"""`edgectl keys` and `sign`: which keys count, on this laptop and on those of other signers."""

import json
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from converter.commands.address import JSON, KEYS, keys_option
from edge_agent import schema
from edge_agent.errors import InputError

if TYPE_CHECKING:
    from converter.publish.changes import Change
    from converter.publish.keys import KeyDirectory
    from converter.publish.orders import Waiting
    from converter.publish.pending import Pending, PendingRelease, PendingRoot
    from edge_agent.release.document import Target

_SOMEBODY = "somebody may be signing it; remove it, or name another with --pending"
_JOB = click.argument("job", metavar="ROLE", type=click.Choice(["root", "targets", "online"]))
_PENDING = click.option(
    "--pending",
    "pending_path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where to put the new root if others must sign it. Default: root-N.pending.json here.",
)


@click.group()
def keys() -> None:
    """The keys that sign releases: make, show, exchange, take out of use. ROLE is root, targets or online."""


@keys.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False), default=KEYS)
@JSON
def init(directory: Path, as_json: bool) -> None:  # noqa: FBT001  # click hands options over by name
    """Make new keys in DIRECTORY (default ~/.config/edgectl/keys). Never overwrites any."""
    from converter.publish.keys import make_keys

    made = make_keys(directory.expanduser())
    if as_json:
        click.echo(json.dumps({"root": str(made[-1]), "keys": [str(path) for path in made[:-1]]}))
        return
    click.echo(f"made {', '.join(path.name for path in made)} in {made[-1].parent}")
    click.echo(f"copy {made[-1]} to each device and name it under [trust] root; the .pem files stay here, secret.")
    click.echo("keep a copy of this directory where a lost laptop does not take it: devices believe no other keys.")


@keys.command()
@keys_option
@JSON
def show(keys_dir: Path, as_json: bool) -> None:  # noqa: FBT001
    """Show who may sign what, how many must, until when, and which of these keys are here."""
    from converter.publish import roots
    from converter.publish.keys import KeyDirectory
    from converter.publish.pending import size_in_documents

    directory = KeyDirectory.at(keys_dir)
    chain = directory.chain()
    report = roots.describe(chain[-1])
    files = {key.keyid: key.file for key in directory.private_keys()}
    if as_json:
        jobs = {
            job: {
                "threshold": said.threshold,
                "keys": [{"id": keyid, "file": files.get(keyid)} for keyid in said.keyids],
            }
            for job, said in report.jobs.items()
        }
        tree = {
            "version": report.version,
            "expires": report.expires.isoformat(),
            "roles": jobs,
            "revoked": report.revoked,
        }
        click.echo(json.dumps(tree))
        return
    oldest = roots.version_of(chain[0])
    click.echo(f"root {report.version}, which lasts until {report.expires:%Y-%m-%d}; roots since {oldest} are here")
    for job, said in report.jobs.items():
        click.echo(f"{job}: {said.threshold} of {len(said.keyids)} must sign")
        for keyid in said.keyids:
            click.echo(f"  {keyid[:8]}  {files.get(keyid, 'not here')}")
    if report.revoked:
        click.echo(f"revoked: {', '.join(keyid[:8] for keyid in report.revoked)}")
    click.echo(f"each release document carries {size_in_documents(chain):,} bytes of roots, of 60,000 at most")


@keys.command()
@_JOB
@keys_option
def new(job: Any, keys_dir: Path) -> None:
    """Make a private key on this laptop for ROLE, to be added by who has a root key. Prints the public file to send."""
    from converter.publish.keys import make_signer

    private, public = make_signer(keys_dir, job)
    click.echo(f"made {private}, which stays here, secret")
    click.echo(f"send {public} to who has a root key: edgectl keys add {job} --public {public.name}")


@keys.command()
@_JOB
@click.option(
    "--public",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The .pub file that another signer has made by 'edgectl keys new'. Without it, a new key is made here.",
)
@_PENDING
@keys_option
@JSON
def add(job: Any, public: Path | None, pending_path: Path | None, keys_dir: Path, as_json: bool) -> None:  # noqa: FBT001
    """Let one more key sign for ROLE."""
    from converter.publish import changes
    from converter.publish.keys import read_public

    key = read_public(public) if public is not None else None
    directory, path = _to_change(keys_dir, pending_path)
    _tell(changes.add(directory, job, key, datetime.now(UTC)), path, as_json=as_json)


@keys.command()
@_JOB
@click.option("--stolen", is_flag=True, help="Somebody else may have the old key: what it signed is not signed again.")
@_PENDING
@keys_option
@JSON
def rotate(job: Any, stolen: bool, pending_path: Path | None, keys_dir: Path, as_json: bool) -> None:  # noqa: FBT001
    """Put a new key in place of this laptop's key for ROLE. The old one is kept aside, not deleted."""
    from converter.publish import changes

    directory, path = _to_change(keys_dir, pending_path)
    _tell(changes.rotate(directory, job, datetime.now(UTC), stolen=stolen), path, as_json=as_json)


@keys.command()
@click.argument("keyid")
@_PENDING
@keys_option
@JSON
def revoke(keyid: str, pending_path: Path | None, keys_dir: Path, as_json: bool) -> None:  # noqa: FBT001
    """Let a key, named by the first digits of its id, count for nothing any more."""
    from converter.publish import changes

    directory, path = _to_change(keys_dir, pending_path)
    _tell(changes.revoke(directory, keyid, datetime.now(UTC)), path, as_json=as_json)


@keys.command()
@_JOB
@click.argument("number", metavar="N", type=click.IntRange(min=1))
@_PENDING
@keys_option
@JSON
def threshold(job: Any, number: int, pending_path: Path | None, keys_dir: Path, as_json: bool) -> None:  # noqa: FBT001
    """Say how many keys must sign for ROLE."""
    from converter.publish import changes

    directory, path = _to_change(keys_dir, pending_path)
    _tell(changes.set_threshold(directory, job, number, datetime.now(UTC)), path, as_json=as_json)


@keys.command()
@click.argument("files", metavar="FILE…", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False))
@keys_option
def follow(files: tuple[Path, ...], keys_dir: Path) -> None:
    """Take over newer roots from another signer: their N.root.json, or a pending root that is signed by all."""
    from converter.publish import changes
    from converter.publish.keys import KeyDirectory, make_directory, read_bytes

    chain = [root for file in files for root in _roots_in(read_bytes(file, "pass the files of the other signer"))]
    make_directory(keys_dir)
    before, after = changes.follow(KeyDirectory.at(keys_dir), chain)
    if before == after:
        click.echo(f"root {after} is here already, and nothing newer was given")
    elif before:
        click.echo(f"root {before} has become root {after}")
    else:
        click.echo(f"root {after} is taken over; ask its owner whether 'edgectl keys show' says the same there")


@click.command()
@click.argument("file", metavar="PENDING", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--dry-run", is_flag=True, help="Only show what would be signed.")
@keys_option
@JSON
def sign(file: Path, dry_run: bool, keys_dir: Path, as_json: bool) -> None:  # noqa: FBT001
    """Add this laptop's signature to PENDING: a release that 'push' has made, or a root that 'keys' has made."""
    from converter.publish.keys import read_bytes
    from converter.publish.pending import PendingRoot, parse_pending

    pending = parse_pending(read_bytes(file, "it is made by 'edgectl push' or 'edgectl keys'"))
    if isinstance(pending, PendingRoot):
        _sign_root(file, pending, keys_dir, dry_run=dry_run, as_json=as_json)
    else:
        _sign_release(file, pending, keys_dir, dry_run=dry_run, as_json=as_json)


def write_pending(path: Path, pending: "Pending") -> None:
    """Make a pending file; none is overwritten."""
    from converter.publish.keys import check_is_new, write_file
    from converter.publish.pending import format_pending

    check_is_new(path, _SOMEBODY)
    write_file(path, format_pending(pending))


def pend(pending: "PendingRelease", path: Path | None) -> str:
    """Keep a document for other signers; returns the file, by default named for what it says."""
    target = pending.target
    path = path or Path(f"{target.model}-{target.version}-{target.channel}.pending.json")
    write_pending(path, pending)
    return str(path)


def pend_order(pending: "PendingRelease") -> str:
    """Keep an order for other signers, in a file of its own for each document."""
    target = pending.target
    what = f"{target.rollout.percent}-{target.rollout.state}-{pending.number}"
    return pend(pending, Path(f"{target.model}-{target.version}-{target.channel}-{what}.pending.json"))


def waiting_orders(target: "Target") -> "list[Waiting]":
    """What `pend_order` has kept here about the same release, the newest first."""
    from converter.publish.keys import read_bytes
    from converter.publish.orders import Waiting
    from converter.publish.pending import PendingRelease, parse_pending

    found = []
    for path in Path().glob(f"{target.model}-{target.version}-{target.channel}-*.pending.json"):
        with suppress(InputError):  # another file of that name is no order
            pending = parse_pending(read_bytes(path, _SOMEBODY))
            if isinstance(pending, PendingRelease):
                found.append(Waiting(str(path), pending.target, pending.number))
    return sorted(found, key=lambda each: each.document, reverse=True)


def _sign_root(file: Path, pending: "PendingRoot", keys_dir: Path, *, dry_run: bool, as_json: bool) -> None:
    from converter.publish import changes
    from converter.publish.keys import KeyDirectory, write_file
    from converter.publish.pending import PendingRoot, format_pending

    directory = KeyDirectory.at(keys_dir)
    if dry_run:
        lines = changes.show(directory, pending)
        click.echo(json.dumps({"changes": lines}) if as_json else "\n".join(lines))
        return
    change = changes.sign(directory, pending)
    done = change.pending or PendingRoot(tuple(root.decode() for root in directory.chain()))
    write_file(file, format_pending(done))
    if as_json:
        click.echo(json.dumps({"version": change.version, "complete": change.pending is None, "changes": change.lines}))
        return
    _say(change, file)


def _sign_release(file: Path, pending: "PendingRelease", keys_dir: Path, *, dry_run: bool, as_json: bool) -> None:
    from converter.publish.keys import read_keys, write_file
    from converter.publish.pending import format_pending, sign_release

    target = pending.target
    signers = read_keys(keys_dir)
    if not as_json:
        whom = f" for devices of class {target.device_class}" if target.device_class else ""
        click.echo(f"{target.model} {target.version} on {target.channel}{whom}, made {target.created}")
        click.echo(f"digest {target.digest}, {target.size_bytes:,} bytes, document {pending.number}")
    done = pending if dry_run else sign_release(pending, signers, datetime.now(UTC))
    lacking = done.lacking(signers)
    if not dry_run:
        write_file(file, format_pending(done))
    if as_json:
        tree = {**schema.dump(target), "document": done.number, "complete": lacking is None}
        click.echo(json.dumps({**tree, "lacking": schema.dump(lacking)}))
    elif lacking is None:
        click.echo(f"it is signed by all; publish it: edgectl push --pending {file}")
    else:
        who = ", ".join(keyid[:8] for keyid in lacking.keyids)
        click.echo(f"{lacking.signatures} more signatures of {lacking.job} keys are needed; these may: {who}")


def _roots_in(content: bytes) -> list[bytes]:
    from converter.publish.pending import PendingRoot, parse_pending

    try:
        pending = parse_pending(content)
    except InputError:
        return [content]
    return list(pending.chain) if isinstance(pending, PendingRoot) else [content]


def _to_change(keys_dir: Path, pending_path: Path | None) -> tuple["KeyDirectory", Path]:
    """The keys, and where a new root goes if others must sign it: asked before any key is made."""
    from converter.publish import roots
    from converter.publish.keys import KeyDirectory, check_is_new

    directory = KeyDirectory.at(keys_dir)
    path = pending_path or Path(f"root-{roots.version_of(directory.chain()[-1]) + 1}.pending.json")
    check_is_new(path, _SOMEBODY)
    return directory, path


def _tell(change: "Change", path: Path, *, as_json: bool) -> None:
    if change.pending is not None:
        write_pending(path, change.pending)
    if as_json:
        tree = schema.dump(replace(change, pending=None))
        click.echo(json.dumps({**tree, "pending": str(path) if change.pending is not None else None}))
        return
    _say(change, path)


def _say(change: "Change", path: Path) -> None:
    for line in change.lines:
        click.echo(line)
    if change.made is not None:
        click.echo(f"made {change.made}, which stays here, secret")
    if change.pending is not None:
        click.echo(f"root {change.version} counts once enough root keys have signed it: edgectl sign {path}")
        return
    click.echo(f"root {change.version} counts here; bring it to the devices: edgectl refresh")
    click.echo("and to other signers, who take it over with 'edgectl keys follow': the N.root.json files are public.")
