"""From a source model to an artifact: the one function that knows the order of things.

Refuse early, convert in children, compare, judge, and only then write. Each step stands in its own module.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from converter.calibrate import FEW_SAMPLES, collect_samples
from converter.child import working_folder
from converter.dataset import open_dataset
from converter.errors import CalibrationError, RecipeError
from converter.evaluate import GOLDEN_NAME, Comparison, Data, Described, Task, compare, describe
from converter.fidelity import Fidelity, check_gate
from converter.frontends.contract import Wanted
from converter.package import Parts, build_manifest, build_members, parse_output_name, write_artifact
from converter.quantize import quantize, quantizer_version
from converter.recipe import Recipe, Tree, build_recipe, read_recipe
from converter.samples import Dataset
from converter.source import Source, open_source
from converter.tflite_schema import float_operators, read_graph
from edge_agent import __version__
from edge_agent.inference.said import Said
from edge_agent.release.manifest import MODEL_FILE
from edge_agent.tasks.anomaly import samples_needed
from edge_agent.tasks.labels import parse_labels

# Packages whose version may change the bytes of an artifact.
_TOOLS = ("ai-edge-litert", "numpy", "pillow")
_QUANTIZED = ("float16", "dynamic", "int8")
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
    wanted: Wanted = field(default_factory=Wanted)  # of the source; its signature is the recipe's


@dataclass(frozen=True, slots=True)
class Converted:
    """What was written."""

    path: Path
    digest: str
    size_bytes: int
    fidelity: Fidelity
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "path": str(self.path),
            "digest": self.digest,
            "size_bytes": self.size_bytes,
            "fidelity": self.fidelity.to_json(latency=True),
            "notes": list(self.notes),
        }


def convert(order: Order) -> Converted:
    """Convert, compare, judge, write.

    Raises:
        RecipeError: the recipe, an option or the output name.
        ModelError, ConversionError: the source.
        CalibrationError: the representative data.
        QualityGateError: the result; nothing is written.
        StorageError: the disk.
    """
    called = parse_output_name(order.output)
    if order.output.is_dir():
        raise RecipeError(f"{order.output} is a directory", hint="give the path of a file, or remove it")
    if order.output.exists() and not order.force:
        raise RecipeError(f"{order.output} exists", hint="pass --force to replace it")
    written = read_recipe(order.recipe) if order.recipe else {}
    asked = build_recipe(written, order.options)
    _check_data_is_given(asked, order)
    with working_folder() as folder:
        wanted = replace(order.wanted, signature=asked.signature)
        source = open_source(order.source, asked.scheme, folder, wanted=wanted)
        described = describe(
            source.path,
            folder,
            reference=source.reference,
            output_names=source.graph.output_names,
            name=order.source.name,
            said=_said(asked, written, order.options),
        )
        recipe = build_recipe(written, order.options, told=described.guessed)
        job = _Job(order, recipe, source, described, folder)
        notes = [note for note in described.notes if not _is_answered(note, written, order.options)]
        finished = _judged(job, _converted_parts(job, called), notes)
    content = write_artifact(order.output, build_members(finished))
    assert finished.fidelity is not None
    digest = hashlib.sha256(content).hexdigest()
    return Converted(order.output, digest, len(content), finished.fidelity, finished.notes)


@dataclass(frozen=True, slots=True)
class _Job:
    """What is known once the source has been loaded."""

    order: Order
    recipe: Recipe
    source: Source
    described: Described
    folder: Path  # gone when all is done


def _converted_parts(job: _Job, called: tuple[str, str]) -> Parts:
    """The model in its scheme, with all that is known before it is run."""
    recipe, source = job.recipe, job.source
    assert recipe.task is not None
    assert recipe.input is not None
    dataset = _open_dataset(job)
    tools = {"edge-deploy": __version__, **{name: metadata.version(name) for name in _TOOLS}, **source.tools}
    model = source.content
    if recipe.scheme in _QUANTIZED:
        tools["ai-edge-quantizer"] = quantizer_version()
        samples = collect_samples(dataset, job.described.inputs) if dataset and recipe.scheme == "int8" else []
        model = quantize(source.content, recipe.scheme, recipe.float_operators, samples, job.folder)
    provenance: dict[str, Any] = {
        "scheme": recipe.scheme,
        "source": {"name": job.order.source.name, "sha256": source.digest, "size_bytes": source.size_bytes},
        "tools": dict(sorted(tools.items())),
    }
    if dataset is not None:
        provenance["calibration"] = {"sha256": dataset.digest, "samples": len(dataset.names)}
    return Parts(*called, recipe.task, recipe.input, recipe, model, _labels(recipe, job.described), provenance)


def _judged(job: _Job, parts: Parts, notes: list[str]) -> Parts:
    """The parts with fidelity and golden vectors, once they have passed the gate."""
    recipe, source = job.recipe, job.source
    converted_path = job.folder / "converted.tflite"
    converted_path.write_bytes(parts.model)
    task = Task(
        converted=str(converted_path),
        float_model=str(source.path) if recipe.scheme != "unchanged" else None,
        labels=parts.labels,
        output_names=source.graph.output_names,
        data=_data(job),
        golden_vectors=recipe.golden_vectors,
        tolerance_floor=recipe.golden_tolerance_floor,
        false_alarm_share=recipe.false_alarm_share,
    )
    comparison = compare(task, build_manifest(parts, {MODEL_FILE: parts.model}), job.folder)
    left = float_operators(read_graph(parts.model), activations=recipe.scheme == "int8")
    fidelity = Fidelity(recipe.scheme, comparison, dict(left) if recipe.scheme in _QUANTIZED else {})
    all_notes = (*notes, *_notes(recipe, comparison), *_threshold_notes(recipe, comparison))
    check_gate(recipe, fidelity, all_notes)
    return replace(
        parts,
        golden=(job.folder / GOLDEN_NAME).read_bytes() if comparison.golden_vectors else None,
        golden_tolerance=comparison.golden_tolerance,
        anomaly_threshold=comparison.anomaly_threshold,
        fidelity=fidelity,
        notes=all_notes,
    )


def _said(asked: Recipe, written: Tree, options: Tree) -> Said:
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


def _check_data_is_given(recipe: Recipe, order: Order) -> None:
    if order.calibrate is not None:
        return
    if recipe.scheme == "int8":
        raise CalibrationError(
            "scheme int8 needs representative data, and none was given",
            hint="--calibrate FOLDER of pictures, X.csv of rows, or X.npz; or --scheme dynamic, which needs none",
        )
    if recipe.limits.needs_data:
        raise CalibrationError(
            "limits on top-1 agreement and disagreement are judged on representative data, and none was given",
            hint="--calibrate FOLDER, X.csv or X.npz",
        )


def _data(job: _Job) -> Data | None:
    order = job.order
    if order.calibrate is None:
        return None
    names, limit = job.source.graph.input_names, job.recipe.calibration_samples
    return Data(str(order.calibrate.resolve()), limit, names, order.skip_unreadable)


def _open_dataset(job: _Job) -> Dataset | None:
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


def _labels(recipe: Recipe, described: Described) -> tuple[str, ...]:
    if recipe.labels is None:
        return described.labels
    try:
        labels = parse_labels(recipe.labels.read_bytes())
    except (OSError, ValueError) as error:
        raise RecipeError(f"{recipe.labels}: {error}", hint="labels are a text file, one label a line") from error
    if not labels:
        raise RecipeError(f"{recipe.labels} holds no labels", hint="labels are a text file, one label a line")
    return labels


def _is_answered(note: str, written: Tree, options: Tree) -> bool:
    for beginning, (table, key) in _GUESSES.items():
        if note.startswith(beginning):
            return any(isinstance(tree.get(table), Mapping) and key in tree[table] for tree in (written, options))
    return False


def _notes(recipe: Recipe, comparison: Comparison) -> list[str]:
    notes = []
    if comparison.golden_vectors < recipe.golden_vectors:
        notes.append(f"{comparison.golden_vectors} golden vectors instead of {recipe.golden_vectors}: they are large")
    if not comparison.representative:
        notes.append(f"no --calibrate: golden vectors and figures are of {comparison.samples} made-up inputs")
    elif recipe.scheme == "int8" and comparison.samples < FEW_SAMPLES:
        notes.append(f"calibrated on {comparison.samples} samples only; {FEW_SAMPLES} and more are better")
    if comparison.converted.partitions == 0:
        notes.append("XNNPACK took no part of the converted model: it runs on slow kernels")
    return notes


def _threshold_notes(recipe: Recipe, comparison: Comparison) -> list[str]:
    if recipe.task != "anomaly" or recipe.output.threshold is not None:
        return []
    threshold, share = comparison.anomaly_threshold, recipe.false_alarm_share
    if threshold is None:
        return ["no threshold: only errors are told; --calibrate with normal data makes one, or state output.threshold"]
    needed = samples_needed(share)
    made_of = f"exceeded by {share:.2%} of normal samples, told from {comparison.samples}"
    if comparison.samples < needed:
        made_of = (
            f"1.5 x the largest error: {comparison.samples} samples cannot tell what {share:.2%} exceed, {needed} can"
        )
    return [f"threshold {threshold:g}: {made_of}"]
