"""A model to be judged, as somebody names it: an artifact, or a source with what recipe, options and guesses say.

Both kinds become a `Candidate`; a bare model beside an artifact takes task, input and output of that.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converter.errors import RecipeError
from converter.evaluate import describe
from converter.evaluation.evaluation import Candidate
from converter.frontends.contract import Wanted
from converter.inspect import is_artifact
from converter.package import Parts, build_manifest
from converter.recipe import Tree, build_recipe
from converter.source import open_source
from converter.stated import is_answered, labels_of, said_of, with_classes
from converter.tflite_schema import read_graph
from edge_agent import schema
from edge_agent.inference.model import release_labels
from edge_agent.release.archive import read_artifact
from edge_agent.release.manifest import LABELS_FILE, MODEL_FILE, Manifest

__all__ = ["Subject", "is_artifact", "open_artifact", "open_bare"]


@dataclass(frozen=True, slots=True)
class Subject:
    candidate: Candidate
    input_names: tuple[str, ...]
    notes: tuple[str, ...] = ()


def open_artifact(path: Path, folder: Path) -> Subject:
    """The model of an artifact, unpacked into `folder`.

    Raises:
        ArtifactError: it is damaged.
    """
    artifact = read_artifact(path)
    folder.mkdir()
    model = folder / MODEL_FILE
    model.write_bytes(artifact.members[MODEL_FILE])
    labels = release_labels(artifact.members.get(LABELS_FILE))
    names = read_graph(artifact.members[MODEL_FILE]).input_names
    return Subject(Candidate(path.name, model, artifact.manifest, labels), names)


def open_bare(path: Path, folder: Path, written: Tree, options: Tree, beside: Candidate | None = None) -> Subject:
    """A `.tflite`, or another source of a conversion. `written` and `options`: recipe file, of scheme `unchanged`, and
    command line.

    Raises:
        RecipeError, ModelError, ConversionError: what was said of it, or it itself, will not do.
    """
    folder.mkdir()
    asked = build_recipe(written, options)
    source = open_source(path, "unchanged", folder, wanted=Wanted(signature=asked.signature))
    described = describe(
        source.path,
        folder,
        reference=source.reference,
        output_names=source.graph.output_names,
        name=path.name,
        said=said_of(asked, written, options, source.classes),
    )
    described = with_classes(described, source, asked)
    told = {**described.guessed, **(_told(beside.manifest) if beside else {})}
    recipe = build_recipe(written, options, told=told)
    if recipe.task is None or recipe.input is None:
        raise RecipeError(f"{path}: neither task nor input can be told", hint="state --task, or give a recipe")
    labels = labels_of(recipe, described) or (beside.labels if beside else ())
    parts = Parts("model", "0", recipe.task, recipe.input, recipe, source.content, labels, {})
    manifest = build_manifest(parts, {MODEL_FILE: source.content})
    names = source.graph.input_names
    notes = tuple(note for note in described.notes if beside is None and not is_answered(note, written, options))
    return Subject(Candidate(path.name, source.path, manifest, labels), names, notes)


def _told(manifest: Manifest) -> Mapping[str, Any]:
    tree = schema.dump(manifest)
    return {name: tree[name] for name in ("task", "input", "output")}
