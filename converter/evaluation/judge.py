"""`edgectl evaluate`: the one function that knows the order of things."""

import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

from converter.data.files import absolute
from converter.errors import QualityGateError, RecipeError
from converter.evaluate import Data
from converter.evaluation.evaluation import Evaluation, evaluate
from converter.evaluation.gate import missed_accuracy
from converter.evaluation.subject import Subject, is_artifact, open_artifact, open_bare
from converter.evaluation.text import format_evaluation
from converter.recipe import Gate, Tree, build_recipe, read_recipe


@dataclass(frozen=True, slots=True)
class Question:
    """What somebody wants to know."""

    model: Path
    data: Path
    against: Path | None = None
    recipe: Path | None = None
    options: Tree = field(default_factory=dict)
    calibrated_with: Path | None = None
    skip_unreadable: bool = False


def judge(question: Question) -> Evaluation:
    """Judge a model, beside another one where there is one, and hold it to the recipe's limits.

    Raises:
        RecipeError: what was asked.
        ArtifactError, ModelError, ConversionError: a model.
        CalibrationError: the data.
        QualityGateError: a limit of the recipe is missed.
    """
    written = read_recipe(question.recipe) if question.recipe else {}
    written = {**written, "scheme": "unchanged"}  # nothing is converted
    limits = build_recipe(written, {}).limits
    if limits.max_drop is not None and question.against is None:
        raise RecipeError(
            "limits.max_drop needs the model to compare with, and none was given", hint="--against FLOAT_MODEL"
        )
    with tempfile.TemporaryDirectory(prefix="edgectl-") as temporary:
        folder = Path(temporary)
        subjects = _subjects(question, written, folder)
        names = subjects[0].input_names
        data = Data(absolute(question.data), 0, names, question.skip_unreadable)
        calibration = None
        if question.calibrated_with is not None:
            calibration = Data(absolute(question.calibrated_with), 10_000, names, question.skip_unreadable)
        found = evaluate([each.candidate for each in subjects], data, folder, calibration=calibration)
    notes = [note for subject in subjects for note in subject.notes]
    found = replace(found, notes=(*dict.fromkeys(notes), *found.notes))
    _check(limits, found)
    return found


def _subjects(question: Question, written: Tree, folder: Path) -> list[Subject]:
    """The one to compare with first. What an artifact says of its input holds for a bare model beside it."""
    paths = [question.model] if question.against is None else [question.against, question.model]
    packed = {place: open_artifact(path, folder / str(place)) for place, path in enumerate(paths) if is_artifact(path)}
    if len(packed) == len(paths) and question.options:
        raise RecipeError(
            "an artifact states task, input and output itself", hint="leave the options of the recipe out"
        )
    beside = next(iter(packed.values())).candidate if packed else None
    found = [
        packed.get(place) or open_bare(path, folder / str(place), written, question.options, beside)
        for place, path in enumerate(paths)
    ]
    if len(found) == 2 and found[0].candidate.name == found[1].candidate.name:
        first = found[0]
        found[0] = replace(first, candidate=replace(first.candidate, name=f"{first.candidate.name} (against)"))
    return found


def _check(limits: Gate, found: Evaluation) -> None:
    missed = missed_accuracy(limits, found)
    if missed:
        raise QualityGateError(
            f"the model misses {'; '.join(missed)}",
            hint="see the classes that are worst, and the examples that changed (--json)",
            table=format_evaluation(found),
            figures=found.to_json(),
            notes=found.notes,
        )
