"""What was asked for, and what is known of it once the source has been loaded: the data that goes with it too.

What is done with it is left to `convert`.
"""

import platform
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from converter.data.files import absolute
from converter.dataset import open_dataset
from converter.evaluate import Data, Described, describe
from converter.frontends.contract import Wanted
from converter.quantization.auto import Auto
from converter.quantization.matching import check_operators, check_rules
from converter.recipe import Recipe, Tree, build_recipe
from converter.report.sections import CompressionStep
from converter.samples import Dataset
from converter.source import Source, open_source
from converter.stated import said_of, with_classes
from edge_agent import schema
from edge_agent.release.archive import Artifact


@dataclass(frozen=True, slots=True)
class Order:
    """What somebody asked for."""

    source: Path
    output: Path
    recipe: Path | None = None
    options: Tree = field(default_factory=dict)  # what lies above the recipe file: keys as in a recipe
    calibrate: Path | None = None
    skip_unreadable: bool = False
    force: bool = False
    with_report: bool = True
    report: Path | None = None  # where it is written; None: beside the output
    evaluate: Path | None = None  # labeled data, which both models are judged by
    work: Path | None = None  # where training goes on from; None: beside the output
    tell: Callable[[str], None] = field(default=lambda _: None)  # what training or the search is at
    wanted: Wanted = field(default_factory=Wanted)  # of the source; its signature is the recipe's
    auto: Auto | None = None  # search for the best way to quantize
    bench: Callable[[Artifact], float] | None = None  # ms of an invoke on the device that is to run it


@dataclass(frozen=True, slots=True)
class Job:
    """What is known once the source has been loaded."""

    order: Order
    recipe: Recipe
    source: Source
    described: Described
    folder: Path  # gone when all is done
    compression: tuple[CompressionStep, ...] = ()
    untrained: Path | None = None  # the source before training, as a float model


def load_job(order: Order, asked: Recipe, written: Tree, folder: Path, trained: Path | None = None) -> Job:
    """The source, as given or `trained`, made a model that loads; what it tells of itself is in the recipe."""
    source = open_source(
        trained or order.source, asked.scheme, folder, wanted=replace(order.wanted, signature=asked.signature)
    )
    described = describe(
        source.path,
        folder,
        reference=source.reference,
        output_names=source.graph.output_names,
        name=order.source.name,
        said=said_of(asked, written, order.options, source.classes),
    )
    described = with_classes(described, source, asked)
    recipe = build_recipe(written, order.options, told=described.guessed)
    _check_matches(source, recipe, written, order.options)
    return Job(order, recipe, source, described, folder)


def labeled_data(job: Job) -> Data | None:
    order = job.order
    if order.evaluate is None:
        return None
    return Data(absolute(order.evaluate), 0, job.source.graph.input_names, order.skip_unreadable)


def representative_data(job: Job) -> Data | None:
    order = job.order
    if order.calibrate is None:
        return None
    names, limit = job.source.graph.input_names, job.recipe.calibration_samples
    return Data(absolute(order.calibrate), limit, names, order.skip_unreadable)


def open_representative(job: Job) -> Dataset | None:
    order, recipe = job.order, job.recipe
    if order.calibrate is None:
        return None
    assert recipe.input is not None
    return open_dataset(
        order.calibrate,
        recipe.input,
        job.described.inputs,
        input_names=job.source.graph.input_names,
        limit=recipe.calibration_samples,
        skip_unreadable=order.skip_unreadable,
    )


def origin_of(job: Job) -> dict[str, Any]:
    """Where a model comes from, whatever is made of it."""
    given = {"name": job.order.source.name, "sha256": job.source.digest, "size_bytes": job.source.size_bytes}
    origin: dict[str, Any] = {"source": given, "machine": platform.machine()}  # whose kernels give golden vectors
    if job.compression:
        origin["training"] = [schema.dump(replace(step, seconds=0.0)) for step in job.compression]
    return origin


def _check_matches(source: Source, recipe: Recipe, written: Tree, options: Tree) -> None:
    """What somebody wrote must be about this model; what ships is about all."""
    shipped = build_recipe({}, {"scheme": recipe.scheme})
    known = set(recipe.float_operators) & set(shipped.float_operators)
    check_operators((name for name in recipe.float_operators if name not in known), source.graph)
    for number, tree in enumerate((written, options)):
        if tree.get("rules"):
            rules = [rule for rule in build_recipe({**tree, "scheme": "mixed"}, {}).rules if rule not in shipped.rules]
            check_rules(rules, source.graph, where=("the recipe", "the options")[number])
