"""What somebody has said of a model, by recipe or option, beside what is guessed of it: the written word wins."""

from collections.abc import Mapping

from converter.errors import RecipeError
from converter.evaluate import Described
from converter.recipe import Recipe, Tree
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


def said_of(asked: Recipe, written: Tree, options: Tree) -> Said:
    """What the model need not be guessed for. The kind of the input only where somebody has written it."""
    stated = {key: value for tree in (written, options) for key, value in tree.get("input", {}).items()}
    sound = stated.get("kind") == "audio" or "features" in stated
    return Said(
        task=asked.task,
        kind=stated.get("kind"),
        window=stated.get("window"),
        features=stated.get("features"),
        sample_rate_hz=stated.get("sample_rate_hz") if sound else None,
        decoder=asked.output.decoder,
        signature=asked.signature,
    )


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
