"""From a source model to an artifact: the one function that knows the order of things.

Refuse early, convert in children, compare, judge, and only then write. Each step stands in its own module.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from converter.calibrate import collect_samples
from converter.child import working_folder
from converter.errors import CalibrationError, QualityGateError, RecipeError
from converter.evaluate import GOLDEN_NAME, Task, compare
from converter.evaluation.evaluation import Candidate as Judged
from converter.evaluation.evaluation import Evaluation, evaluate
from converter.fidelity import Fidelity, check_gate
from converter.job import Job, Order, labeled_data, load_job, open_representative, origin_of, representative_data
from converter.layers import LAYER_SAMPLES
from converter.model_metadata import with_metadata
from converter.notes import comparison_notes
from converter.package import Parts, build_manifest, build_members, created, parse_output_name, write_artifact
from converter.quantization.auto import Found, NothingFoundError, Question, find_best
from converter.quantization.quantize import LeftFloat, counted, quantize, quantizer_version
from converter.recipe import Recipe, Tree, build_recipe, read_recipe
from converter.report.collect import collect_sections, report_of, report_of_search, with_evaluation
from converter.report.page import Report, format_report
from converter.report.sections import LayerError, Sections, TensorRange
from converter.report.write import check_report_path, report_path, write_report
from converter.samples import Seeded
from converter.stated import is_answered, labels_of
from converter.training.job import train_job
from converter.training.run import forget, work_directory
from edge_agent import __version__, schema
from edge_agent.disk import open_disk
from edge_agent.errors import StorageError
from edge_agent.release.archive import format_archive, read_artifact
from edge_agent.release.manifest import MODEL_FILE

# Packages whose version may change the bytes of an artifact.
_TOOLS = ("ai-edge-litert", "flatbuffers", "numpy", "pillow")
_CONVERTED_NAME = "converted.tflite"


@dataclass(frozen=True, slots=True)
class Converted:
    """What was written."""

    path: Path
    digest: str
    size_bytes: int
    fidelity: Fidelity
    notes: tuple[str, ...]
    evaluation: Evaluation | None = None
    report: Path | None = None
    sections: Sections = field(default_factory=Sections)  # of the report
    curve: str = ""  # table of what the search has tried

    def to_json(self) -> dict[str, Any]:
        return {
            "path": str(self.path),
            "digest": self.digest,
            "size_bytes": self.size_bytes,
            "fidelity": self.fidelity.to_json(latency=True),
            "notes": list(self.notes),
            "report": str(self.report) if self.report else None,
            **({"evaluation": self.evaluation.to_json()} if self.evaluation else {}),
            **({"candidates": schema.dump(self.sections.candidates)} if self.sections.candidates else {}),
        }


def convert(order: Order) -> Converted:
    """Convert, compare, judge, write.

    Raises:
        RecipeError: the recipe, an option or the output name.
        ModelError, ConversionError: the source.
        CalibrationError: the representative data.
        QualityGateError: the result; nothing but the report is written.
        StorageError: the disk.
    """
    called = parse_output_name(order.output)
    created()  # frameworks read that variable too, and say less when it is wrong
    if order.output.is_dir():
        raise RecipeError(f"{order.output} is a directory", hint="give the path of a file, or remove it")
    if order.output.exists() and not order.force:
        raise RecipeError(f"{order.output} exists", hint="pass --force to replace it")
    report = report_path(order.output, order.report) if order.with_report else None
    if report is not None:
        check_report_path(report, force=order.force, taken=(order.output, order.source, order.recipe))
    written = read_recipe(order.recipe) if order.recipe else {}
    asked = build_recipe(written, order.options)
    if order.auto and {"scheme", "rules", "float_operators"} & ({*written, *order.options}):
        raise RecipeError(
            "--auto chooses the scheme and what stays float, and the recipe or an option says it already",
            hint="leave out --auto, or scheme, rules and float_operators",
        )
    _check_data_is_given(asked, order)
    with working_folder() as folder:
        job = train_job(order, asked, written, folder) if asked.training else load_job(order, asked, written, folder)
        recipe, described = job.recipe, job.described
        notes = [note for note in described.notes if not is_answered(note, written, order.options)]
        notes += job.source.notes
        found = _searched(job, called, notes, report) if order.auto else None
        if found:
            notes += found.notes
            recipe = _taken(found, order, written, described.guessed)
            job = replace(job, recipe=recipe)
        parts, made = _converted_parts(job, called)
        finished = _run(job, parts, made, [*notes, *made.notes])
        assert finished.fidelity is not None
        sections = _sections(job, made, found, finished.evaluation, compare=report is not None)
    try:
        check_gate(recipe, finished.fidelity, finished.notes, finished.evaluation)
    except QualityGateError as error:
        if report is not None:
            _tell_refusal(report_of(finished, sections, refused=str(error)), report, order, error)
        raise
    content = format_archive(build_members(finished))
    digest = hashlib.sha256(content).hexdigest()
    if report is not None:
        page = replace(report_of(finished, sections), digest=digest, size_bytes=len(content))
        _write_report(report, page, order)
    _write_artifact(order.output, content, report)
    if asked.training is not None:
        forget(work_directory(order.output, order.work))
    return Converted(
        order.output,
        digest,
        len(content),
        finished.fidelity,
        finished.notes,
        finished.evaluation,
        report,
        sections,
        found.table if found else "",
    )


def _write_artifact(path: Path, content: bytes, report: Path | None) -> None:
    """Last of all: an artifact that it replaces stays until everything else is done."""
    try:
        write_artifact(path, content)
    except StorageError:
        if report is not None:
            report.unlink(missing_ok=True)  # it tells of an artifact that there is not
        raise


def _write_report(path: Path, page: Report, order: Order) -> None:
    if path.parent == order.output.parent:
        open_disk(path.parent)  # made if it is missing, as for the artifact
    write_report(path, format_report(page))


def _tell_refusal(page: Report, path: Path, order: Order, error: QualityGateError) -> None:
    """That the report cannot be written is no reason to hide why the model was refused."""
    try:
        _write_report(path, page, order)
        error.report = path
    except StorageError as problem:
        error.notes = (*error.notes, f"the report could not be written: {problem}")


def _searched(job: Job, called: tuple[str, str], notes: Sequence[str], report: Path | None) -> Found:
    """The best way within the limits; where there is none, the report shows the others to whoever chooses new ones."""
    data = representative_data(job)
    assert job.order.auto is not None
    assert data is not None
    recipe = job.recipe
    assert recipe.task is not None
    assert recipe.input is not None
    quantizer_version()
    labels, content = labels_of(recipe, job.described), job.source.content
    asked = Parts(*called, recipe.task, recipe.input, recipe, content, labels, {})
    manifest = build_manifest(asked, {MODEL_FILE: content})
    auto, bench = job.order.auto, job.order.bench

    def latency_there(model: bytes) -> float:
        path = job.folder / "candidate.edge"
        path.write_bytes(format_archive(build_members(replace(asked, model=model))))
        assert bench is not None
        return bench(read_artifact(path))

    if bench is not None:
        auto = replace(auto, latency=latency_there)
    question = Question(labels, data, labeled_data(job))
    try:
        return find_best(content, manifest, question, auto, folder=job.folder, tell=job.order.tell)
    except NothingFoundError as error:
        error.notes = (*notes, *error.notes)
        if report is not None:
            told = replace(asked, provenance=origin_of(job), notes=error.notes)
            sections = Sections(candidates=error.candidates, compression=job.compression)
            _tell_refusal(report_of_search(told, sections, refused=str(error)), report, job.order, error)
        raise


def _taken(found: Found, order: Order, written: Tree, told: Tree) -> Recipe:
    """The recipe with the way that was taken: --max-drop stands for the agreement that its scheme would be held to, and
    where all labeled data is judged, for the drop on it.
    """
    assert order.auto is not None
    drop = order.auto.limits.max_drop if order.evaluate is not None else None
    said: Tree = {"min_top1_agreement": 0.0} if drop is None else {"min_top1_agreement": 0.0, "max_drop": drop}
    limits = {**said, **written.get("limits", {}), **order.options.get("limits", {})}
    return build_recipe(written, {**order.options, **found.way, "limits": limits}, told=told)


@dataclass(frozen=True, slots=True)
class _Made:
    """What was seen when the model was quantized."""

    left_float: tuple[LeftFloat, ...] = ()
    layers: tuple[LayerError, ...] = ()
    ranges: tuple[TensorRange, ...] = ()
    notes: tuple[str, ...] = ()


def _converted_parts(job: Job, called: tuple[str, str]) -> tuple[Parts, _Made]:
    """The model in its scheme, with all that is known before it is run."""
    recipe, source = job.recipe, job.source
    assert recipe.task is not None
    assert recipe.input is not None
    dataset = open_representative(job)
    tools = {"edge-deploy": __version__, **{name: metadata.version(name) for name in _TOOLS}, **source.tools}
    model, made = source.content, _Made()
    if recipe.quantized:
        tools["ai-edge-quantizer"] = quantizer_version()
        treatment = recipe.treatment
        samples = collect_samples(dataset, job.described.inputs) if dataset else []
        done = quantize(source.content, treatment, samples, job.folder)
        model, made = done.content, _Made(done.left_float, done.layers, done.ranges, done.notes)
    provenance = {"scheme": recipe.scheme, "tools": dict(sorted(tools.items())), **origin_of(job)}
    if dataset is not None:
        provenance["calibration"] = {"sha256": dataset.digest, "samples": len(dataset.names)}
    labels = labels_of(recipe, job.described)
    parts = Parts(*called, recipe.task, recipe.input, recipe, model, labels, provenance)
    wanted = recipe.metadata if recipe.metadata is not None else recipe.scheme != "unchanged"
    return with_metadata(parts, source.path, job.folder) if wanted else parts, made


def _run(job: Job, parts: Parts, made: _Made, notes: list[str]) -> Parts:
    """The parts with fidelity and golden vectors, not judged yet."""
    recipe, source = job.recipe, job.source
    converted_path = job.folder / _CONVERTED_NAME
    converted_path.write_bytes(parts.model)
    task = Task(
        converted=str(converted_path),
        float_model=str(source.path) if recipe.scheme != "unchanged" else None,
        labels=parts.labels,
        output_names=source.graph.output_names,
        data=representative_data(job),
        golden_vectors=recipe.golden_vectors,
        tolerance_floor=recipe.golden_tolerance_floor,
        false_alarm_share=recipe.false_alarm_share,
    )
    comparison = compare(task, build_manifest(parts, {MODEL_FILE: parts.model}), job.folder)
    fidelity = Fidelity(recipe.scheme, comparison, counted(made.left_float), made.left_float)
    all_notes = (*notes, *comparison_notes(recipe, comparison))
    parts = replace(parts, anomaly_threshold=comparison.anomaly_threshold)
    evaluation = _evaluated(job, parts, task)
    all_notes += evaluation.notes if evaluation else ()
    return replace(
        parts,
        evaluation=evaluation,
        golden=(job.folder / GOLDEN_NAME).read_bytes() if comparison.golden_vectors else None,
        golden_tolerance=comparison.golden_tolerance,
        fidelity=fidelity,
        notes=all_notes,
    )


def _sections(job: Job, made: _Made, found: Found | None, evaluation: Evaluation | None, *, compare: bool) -> Sections:
    """What the report tells beside the fidelity table; `compare`: the layers of the finished model too."""
    sections = Sections()
    if job.recipe.quantized and compare:
        assert job.recipe.input is not None
        dataset = open_representative(job) or Seeded(LAYER_SAMPLES, job.recipe.input)
        converted = job.folder / _CONVERTED_NAME
        sections = collect_sections(job.source.path, converted, dataset, job.described.inputs, job.folder)
    layers, ranges = sections.layers or made.layers, made.ranges or sections.ranges
    sections = replace(sections, layers=layers, ranges=ranges)
    sections = replace(sections, compression=job.compression, candidates=found.candidates if found else ())
    return with_evaluation(sections, evaluation) if evaluation is not None else sections


def _evaluated(job: Job, parts: Parts, task: Task) -> Evaluation | None:
    """Both models judged by labeled data, where there is some."""
    data = labeled_data(job)
    if data is None:
        return None
    manifest = build_manifest(parts, {MODEL_FILE: parts.model})
    candidates = [Judged(job.recipe.scheme, Path(task.converted), manifest, parts.labels)]
    if job.untrained is not None:  # what training loses is a loss too
        candidates.insert(0, Judged("source", job.untrained, manifest, parts.labels))
    elif task.float_model is not None:
        name = "float32" if job.recipe.scheme != "float32" else "source"
        candidates.insert(0, Judged(name, Path(task.float_model), manifest, parts.labels))
    return evaluate(candidates, data, job.folder, calibration=task.data)


def _check_data_is_given(recipe: Recipe, order: Order) -> None:
    if recipe.limits.needs_labels and order.evaluate is None:
        raise RecipeError(
            "limits.max_drop and limits.min_accuracy are judged on labeled data, and none was given",
            hint="--evaluate FOLDER with a subfolder for each class, or another form (docs/evaluation.md)",
        )
    if order.calibrate is not None:
        return
    if order.auto:
        raise CalibrationError(
            "--auto judges candidates by representative data, and none was given",
            hint="--calibrate FOLDER, X.csv or X.npz; with subfolders named like the labels, by accuracy",
        )
    if recipe.needs_samples:
        raise CalibrationError(
            f"scheme {recipe.scheme} needs representative data, and none was given",
            hint="--calibrate FOLDER of pictures, X.csv of rows, or X.npz; or --scheme dynamic, which needs none",
        )
    if recipe.limits.needs_data:
        raise CalibrationError(
            "limits on top-1 agreement and disagreement are judged on representative data, and none was given",
            hint="--calibrate FOLDER, X.csv or X.npz",
        )
