"""What somebody has said of a model, by recipe or option, beside what is guessed of it: the written word wins."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from converter.data.files import listed
from converter.errors import RecipeError
from converter.evaluate import Described
from converter.frontends.class_names import gives_shares
from converter.recipe import Recipe, Tree
from converter.source import Source
from edge_agent.inference.said import Said
from edge_agent.tasks.labels import parse_labels

# A note about a guess is dropped where somebody has said what was guessed: how the note begins, and the recipe's key.
_GUESSES = {
    "normalization": ("input", "mean"),
    "input guessed": ("input", "window"),
    "softmax guessed": ("output", "activation"),
    "objects below": ("output", "score_threshold"),
    "decoder guessed": ("output", "decoder"),
    "fit guessed": ("input", "fit"),
    "color guessed": ("input", "color"),
}


def said_of(asked: Recipe, written: Tree, options: Tree, classes: Sequence[str] = ()) -> Said:
    """What the model need not be guessed for. The kind of the input only where somebody has written it.

    A source that names its `classes` is a classifier.
    """
    stated = {key: value for tree in (written, options) for key, value in tree.get("input", {}).items()}
    sound = stated.get("kind") == "audio" or "features" in stated
    return Said(
        task=asked.task or ("classification" if classes else None),
        kind=stated.get("kind"),
        window=stated.get("window"),
        features=stated.get("features"),
        sample_rate_hz=stated.get("sample_rate_hz") if sound else None,
        decoder=asked.output.decoder,
        signature=asked.signature,
    )


def with_classes(described: Described, source: Source, asked: Recipe) -> Described:
    """The classes that the source names are its labels, where neither the model nor anybody says others; and a note.

    What its framework gives as probabilities gets no softmax.
    """
    if not source.classes:
        return described
    notes, guessed = described.notes, described.guessed
    if guessed["task"] == "classification" and source.reference is not None and gives_shares(source.reference):
        guessed = {**guessed, "output": {**guessed["output"], "activation": "none"}}
        notes = tuple(note for note in notes if not note.startswith("softmax guessed"))
    if described.labels or asked.labels is not None:
        return replace(described, guessed=guessed, notes=notes)
    note = f"labels are the classes that the source names: {listed(source.classes)}"
    return replace(described, guessed=guessed, labels=source.classes, notes=(*notes, note))


def labels_of(recipe: Recipe, described: Described) -> tuple[str, ...]:
    """Those of the recipe's file, else those the model tells.

    Raises:
        RecipeError: the file cannot be read, or is empty.
    """
    if recipe.labels is None:
        return described.labels
    try:
        labels = parse_labels(recipe.labels.read_bytes())
    except (OSError, ValueError) as error:
        raise RecipeError(f"{recipe.labels}: {error}", hint="labels are a text file, one label a line") from error
    if not labels:
        raise RecipeError(f"{recipe.labels} holds no labels", hint="labels are a text file, one label a line")
    return labels


def is_answered(note: str, written: Tree, options: Tree) -> bool:
    """Whether somebody has said what the note is a guess about."""
    for beginning, (table, key) in _GUESSES.items():
        if note.startswith(beginning):
            return any(isinstance(tree.get(table), Mapping) and key in tree[table] for tree in (written, options))
    return False
