"""A source trained before it is converted, by a recipe's [training]; all that can fail later is looked at first."""

import math
from dataclasses import replace
from pathlib import Path

from converter.calibrate import collect_samples
from converter.data.examples import Request
from converter.data.opening import check_examples
from converter.errors import ConversionError
from converter.job import Job, Order, labeled_data, load_job, open_representative
from converter.recipe import Recipe, Tree
from converter.stated import labels_of
from converter.training.run import check_trainable, train, work_directory
from converter.training.taken import Taken


def train_job(order: Order, asked: Recipe, written: Tree, folder: Path) -> Job:
    """The source after the steps of the recipe. What can be known to fail once it is trained fails before."""
    assert asked.training is not None
    check_trainable(order.source, asked.training)
    before = folder / "untrained"
    before.mkdir()
    given = load_job(order, asked, written, before)
    _check_data(given)
    work = work_directory(order.output, order.work)
    trained = train(order.source, asked.training, _taken_by(given), work, folder=folder, say=order.tell)
    job = load_job(order, asked, written, folder, trained.path)
    # what was given is what it comes from, and what it is judged beside
    source = replace(job.source, digest=given.source.digest, size_bytes=given.source.size_bytes)
    return replace(job, source=source, compression=trained.steps, untrained=given.source.path)


def _check_data(job: Job) -> None:
    """Whether the data for what comes after training can be read, and is what the model takes."""
    assert job.recipe.input is not None
    assert job.recipe.task is not None
    job.order.tell("reading the data for what comes after training")
    dataset = open_representative(job)
    if dataset is not None and (job.recipe.quantized or job.order.auto):
        collect_samples(dataset, job.described.inputs)
    labeled = labeled_data(job)
    if labeled is not None:
        request = Request(Path(labeled.path), job.recipe.task, job.recipe.input, labeled.skip_unreadable)
        check_examples(request, job.described.inputs, labeled.input_names)


def _taken_by(job: Job) -> Taken:
    recipe, described = job.recipe, job.described
    assert recipe.task is not None
    assert recipe.input is not None
    if len(described.inputs) != 1 or len(described.outputs) != 1:
        raise ConversionError("only models with one input and one output can be trained here")
    [tensor], [output] = described.inputs, described.outputs
    return Taken(
        recipe.task,
        recipe.input,
        tensor,
        job.source.graph.input_names[0],
        labels_of(recipe, described),
        math.prod(output.shape[1:]),
        job.order.skip_unreadable,
    )
