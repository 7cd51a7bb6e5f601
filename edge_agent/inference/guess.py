"""What a bare `.tflite` most likely takes and gives: its author's metadata where there is any, else its shapes.

Every guess is said, so that a wrong one is seen. Artifacts need none of this: their manifest says it all. What is
guessed of the inputs is left to `guess_input`, of the outputs to `guess_output`.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from edge_agent.errors import InputError
from edge_agent.inference.ends import find_ends
from edge_agent.inference.engine import Engine
from edge_agent.inference.guess_input import guess_input, guess_kind
from edge_agent.inference.guess_output import guess_meaning
from edge_agent.inference.model_file import ModelFile
from edge_agent.inference.said import Said
from edge_agent.release.inputs import AudioInput, TensorInput
from edge_agent.release.manifest import MODEL_FILE, FileEntry, Manifest

_NOTHING_SAID = Said()


@dataclass(frozen=True, slots=True)
class Guess:
    manifest: Manifest
    labels: tuple[str, ...]
    notes: tuple[str, ...]


def guess(described: ModelFile, engine: Engine, said: Said = _NOTHING_SAID) -> Guess:
    """A manifest for a model that has none; `said` is what somebody has said of it.

    Raises:
        InputError: it cannot be read to the end.
    """
    notes = _signature_notes(described, said)
    ends = find_ends(described, engine.inputs, engine.outputs, said.signature)
    state = ends.state
    rate = ends.rate_input
    fed = tuple(end for end in ends.inputs if end.tensor.name not in state.values() and end != rate)
    kind = guess_kind(fed, said) if rate is None or said.kind is not None else "audio"
    told = tuple(end for end in ends.outputs if end.tensor.name not in state)
    notes += _state_notes(state)
    meaning = guess_meaning(described, kind, fed, told, said)
    notes += meaning.notes
    source = guess_input(kind, fed[0], said, meaning.output.decoder, notes) if fed else TensorInput()
    if len(fed) > 1:
        names = ", ".join(end.tensor.label for end in fed)
        notes.append(f"{len(fed)} inputs ({names}): give them by name as .npz or JSON, or as one row of all values")
    constants: dict[str, float] = {}
    if rate is not None and isinstance(source, AudioInput):
        constants[rate.tensor.name] = float(source.sample_rate_hz)
        notes.append(f"input {rate.tensor.name} always gets the sample rate, {source.sample_rate_hz}")
    manifest = Manifest(
        name=_identifier(described.path),
        version="0",
        task=meaning.task,
        input=source,
        output=meaning.output,
        files={MODEL_FILE: _entry(described.path)},
        created="1970-01-01T00:00:00Z",
        signature=said.signature,
        state=state,
        constants=constants,
    )
    return Guess(manifest, meaning.labels, tuple(notes))


def _signature_notes(described: ModelFile, said: Said) -> list[str]:
    """Which of several is run."""
    keys = [each.key for each in described.signatures]
    if len(keys) < 2:
        return []
    main = next((each.key for each in described.signatures if each.graph == 0), None)
    run = said.signature or (f"{main}, the main graph" if main else "the main graph")
    return [f"{len(keys)} signatures ({', '.join(keys)}): {run} is run; --signature chooses another"]


def _state_notes(state: dict[str, str]) -> list[str]:
    pairs = ", ".join(f"{output} → {end}" for output, end in state.items())
    return [f"state guessed, fed back from one input to the next: {pairs}"] if state else []


def _entry(path: Path) -> FileEntry:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    return FileEntry(hashlib.sha256(content).hexdigest(), len(content))


def _identifier(path: Path) -> str:
    return re.sub(r"[^a-z0-9_-]+", "-", path.stem.lower())[:64].strip("-") or "model"
