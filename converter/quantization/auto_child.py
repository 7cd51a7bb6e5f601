"""The child that tries ways of quantizing: `python -m converter.quantization.auto_child FOLDER`, started by `auto`.

First what costs the device time is found by measuring: kinds of operators that run slower quantized. Then what costs
accuracy: layers, by the noise each makes alone. From the worst ones on, more and more stay in higher precision.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from converter.calibrate import FEW_SAMPLES, collect_samples
from converter.child import answer_parent, tell_parent
from converter.dataset import open_dataset
from converter.errors import CalibrationError, ConversionError
from converter.evaluation.classes import ClassNames
from converter.evaluation.evaluation_child import figure_of
from converter.quantization.auto import CHILD, SOURCE_NAME, Answer, Question, candidate_name
from converter.quantization.matching import exactly
from converter.quantization.observe import latencies_ms
from converter.quantization.rules import keep_float
from converter.quantization.search import Curve, Tried
from converter.quantization.study import Study, Way
from converter.recipe import shipped_recipe
from converter.samples import Dataset
from converter.tflite_schema import count_partitions
from edge_agent import schema
from edge_agent.errors import ModelError
from edge_agent.inference.model import Model, assemble
from edge_agent.inference.tflite import open_engine
from edge_agent.release.manifest import Manifest, format_manifest, parse_manifest
from edge_agent.transform.prepared import Prepared
from edge_agent.transform.tensor import Array, quantize

_PROBED, _TIMED = 5, 41  # invokes of each candidate: to see whether it is slow, and to tell its latency
_HOPELESS = 20.0  # times the float model's latency: it is not looked at any further
_EVALUATED = 500  # labeled samples at most that each candidate is judged by; all of them count at the gate
_STEPS = (1, 2, 4, 8, 16, 32, 64)  # layers in higher precision
_BUDGET_S = 400.0  # after it no new way is tried; judging those there are takes a fraction of it
_GAIN_DB = 0.3  # of signal to noise: what makes an estimator or a correction worth its place in the recipe
_CORRECTIONS: tuple[Way, ...] = (
    {"range_estimator": "percentile"},
    {"range_estimator": "mse"},
    {"range_estimator": "entropy"},
    {"bias_correction": True},
    {"equalization": True},
)
_EXACT_DB = 200.0  # stands for no error at all, for JSON knows no infinity; its negative for nothing but error
Late = Callable[[], bool]

_CLASSIFYING = ("classification", "signal_classification", "audio_classification")


@dataclass(frozen=True, slots=True)
class _Named:
    """A way with what it is called in the table."""

    label: str
    way: Way


@dataclass(frozen=True, slots=True)
class _Judge:
    """What candidates are held against: answers of the float model, and classes where the data says them."""

    manifest: Manifest
    labels: tuple[str, ...]
    samples: Sequence[Sequence[Array]]
    classes: tuple[str, ...]  # of the samples; empty: not known
    expected: Sequence[Any]
    figure_name: str
    reference: float  # the float model's figure
    count: int  # of the samples it is of
    known: int  # of which there are
    evaluation: Mapping[str, Any] | None = None  # labeled data that is judged by instead


def _search(folder: Path, request: Mapping[str, Any]) -> object:
    question = schema.parse(Question, request["question"], strict=True)
    manifest = parse_manifest(request["manifest"].encode())
    path = folder / SOURCE_NAME
    tell_parent("reading the representative data")
    judge = _judge(path, manifest, question)
    study, until = Study(path.read_bytes(), judge.samples), time.monotonic() + _BUDGET_S
    [float_ms] = latencies_ms([study.content], judge.samples[0], rounds=_TIMED)
    count = judge.count
    notes = [f"candidates were judged on {count} samples; {FEW_SAMPLES} and more are better"] * (count < FEW_SAMPLES)
    notes += [f"candidates were judged on {count} of the {judge.known} labeled samples"] * (count < judge.known)
    named = list(_in_time(_ways(study, float_ms, notes, lambda: time.monotonic() > until), notes, until))
    tried = []
    for number, one in enumerate(named):
        tell_parent(f"judging {number + 1} of {len(named)}: {one.label}")
        tried.append(_judged(study, one, judge, folder / candidate_name(number)))
    tried = _timed(tried, folder, judge.samples[0])
    curve = Curve(tuple(tried), judge.figure_name, judge.reference)
    return schema.dump(Answer(curve, tuple(notes)))


def _in_time(ways: Iterator[_Named], notes: list[str], until: float) -> Iterator[_Named]:
    """The ways, until the time is up."""
    for one in ways:
        yield one
        if time.monotonic() > until:
            notes.append(f"time was up after {one.label}: what comes behind it was not tried")
            return


def _ways(study: Study, float_ms: float, notes: list[str], late: Late) -> Iterator[_Named]:
    yield _Named("float32", {"scheme": "float32"})
    yield _Named("float16", {"scheme": "float16"})
    for scheme in ("weight_int8", "dynamic", "int8"):
        tell_parent(f"{scheme}: which kinds of operators run slower quantized")
        kinds = study.slow_kinds({"scheme": scheme}, tell_parent)
        if kinds:
            notes.append(f"{scheme}: quantized, {', '.join(kinds)} made the model slower; left in float")
        way: Way = {"scheme": scheme, "float_operators": list(kinds), "range_estimator": "min_max"}
        label = f"{scheme}, {' and '.join(kinds)} in float" if kinds else scheme
        yield _Named(label, way)
        if scheme == "int8":
            corrected = _corrected(study, way, notes)
            if corrected != way:
                yield _Named(f"{label}, {_corrections(corrected)}", corrected)
            yield from _mixed(study, label, corrected, "float32", late)
    yield from _packed(study, float_ms, notes, late)
    probe = study.quantized({"scheme": "int16x8"})
    if _is_hopeless(study, probe, float_ms, "int16x8", notes):
        return
    yield _Named("int16x8", {"scheme": "int16x8"})


def _packed(study: Study, float_ms: float, notes: list[str], late: Late) -> Iterator[_Named]:
    """int4 weights, the worst layers in int8."""
    way: Way = {"scheme": "weight_int4"}
    if _is_hopeless(study, study.quantized(way), float_ms, "weight_int4", notes):
        return
    yield _Named("weight_int4", way)
    corrected = {**way, "bias_correction": True}
    if study.logit_snr_db(corrected) > study.logit_snr_db(way) + _GAIN_DB:
        notes.append("weight_int4: bias correction brings the answers nearer to the float model's")
        way = corrected
        yield _Named("weight_int4, bias_correction", way)
    yield from _mixed(study, "weight_int4", way, "weight_int8", late)


def _mixed(study: Study, label: str, way: Way, higher: str, late: Late) -> Iterator[_Named]:
    """The same with more and more of the layers that make most noise in higher precision."""
    tell_parent(f"{label}: the noise each layer makes")
    ranked = study.sensitivity(way, tell_parent, late=late)
    graph = study.graph
    for count in (count for count in _STEPS if count < len(ranked)):
        worst = [exactly(graph.operators[position], graph) for _, position in ranked[:count]]
        rules = [rule for regex in worst for rule in _raised(regex, higher)]
        yield _Named(f"{label}, {count} layer{'s' * (count > 1)} in {higher}", {**way, "rules": rules})


def _raised(regex: str, higher: str) -> list[Mapping[str, Any]]:
    if higher == "float32":
        return [schema.dump(keep_float(regex=regex))]
    return [{**rule, "regex": regex} for rule in shipped_recipe(higher)["rules"]]


def _corrected(study: Study, way: Way, notes: list[str]) -> Way:
    """The way with the range estimator and the corrections that help; each is tried on top of those before."""
    best, best_db = way, study.logit_snr_db(way)
    for correction in _CORRECTIONS:
        tried = {**best, **correction}
        tell_parent(f"int8 with {_corrections(tried)}")
        found = study.logit_snr_db(tried)
        if found > best_db + _GAIN_DB:
            best, best_db = tried, found
    if best != way:
        notes.append(f"int8: {_corrections(best)}: {study.logit_snr_db(way):.1f} to {best_db:.1f} dB")
    return best


def _corrections(way: Way) -> str:
    named = [str(way[key]) for key in ("range_estimator",) if way.get(key, "min_max") != "min_max"]
    return ", ".join([*named, *(key for key in ("bias_correction", "equalization") if way.get(key))])


def _is_hopeless(study: Study, content: bytes, float_ms: float, label: str, notes: list[str]) -> bool:
    [found] = latencies_ms([content], study.samples[0], rounds=_PROBED)
    if found <= _HOPELESS * float_ms:
        return False
    notes.append(f"{label} was left out: {found / float_ms:.0f} times as slow as float here")
    return True


# --- judging ------------------------------------------------------------------------------------------------------


def _judge(path: Path, manifest: Manifest, question: Question) -> _Judge:
    with open_engine(path, signature=manifest.signature) as engine:
        data = question.data
        dataset = open_dataset(
            Path(data.path),
            manifest.input,
            engine.inputs,
            input_names=data.input_names,
            limit=data.limit,
            skip_unreadable=data.skip_unreadable,
        )
        samples = collect_samples(dataset, engine.inputs)
        with assemble(manifest, question.labels, engine) as model:
            raw = [model.invoke(Prepared(tuple(sample))) for sample in samples]
            expected = [model.real_outputs(outputs) for outputs in raw]
            classes = classes_of(dataset, question.labels, manifest)
            accuracy = _accuracy(model, samples, classes) if classes else None
    if not all(np.isfinite(output).all() for outputs in expected for output in outputs):
        raise ConversionError(
            "the float model answers NaN or Inf to the data", hint="check the weights and the normalization"
        )
    if question.evaluation is not None:
        asked = asdict(question.evaluation)
        found = figure_of(_candidate(path, manifest, question.labels), asked, _EVALUATED)
        if found.value is None:
            raise CalibrationError(
                f"{found.metric} of the float model is not defined on {question.evaluation.path}",
                hint="give labeled data with more than one class in it, or leave out --evaluate",
            )
        return _Judge(
            manifest,
            question.labels,
            samples,
            (),
            expected,
            found.metric,
            found.value,
            found.samples,
            found.known,
            asked,
        )
    count = len(samples)
    if accuracy is not None:
        return _Judge(manifest, question.labels, samples, classes, expected, "accuracy", accuracy, count, count)
    name = "top-1 agreement" if manifest.task in _CLASSIFYING else "agreement"
    return _Judge(manifest, question.labels, samples, (), expected, name, 1.0, count, count)


def _candidate(path: Path, manifest: Manifest, labels: Sequence[str]) -> Mapping[str, Any]:
    """As `evaluation_child` is asked about it."""
    return {"name": "float32", "path": str(path), "manifest": format_manifest(manifest).decode(), "labels": labels}


def classes_of(dataset: Dataset, labels: Sequence[str], manifest: Manifest) -> tuple[str, ...]:
    """The label of each sample, where every one lies in a folder that is called like one, as `--evaluate` takes it."""
    if manifest.task not in _CLASSIFYING or not labels:
        return ()
    names = ClassNames(labels, len(labels))
    places = [names.index(Path(name).parent.name) for name in dataset.names]
    known = [names.name(place) for place in places if place is not None]
    return tuple(known) if len(known) == len(places) and len(set(known)) > 1 else ()


def _accuracy(model: Model, samples: Sequence[Sequence[Array]], classes: Sequence[str]) -> float:
    right = 0
    for sample, label in zip(samples, classes, strict=True):
        prepared = _prepared(model, sample)
        found = model.decode(model.invoke(prepared), prepared)
        right += bool(found) and found[0].label == label
    return right / len(samples)


def _prepared(model: Model, sample: Sequence[Array]) -> Prepared:
    pairs = zip(sample, model.engine.inputs, strict=True)
    return Prepared(tuple(quantize(real, tensor) for real, tensor in pairs))


def _judged(study: Study, one: _Named, judge: _Judge, path: Path) -> Tried:
    empty = Tried(one.label, one.way, 0, 0.0, -_EXACT_DB, 0.0, 0)
    try:
        content = study.quantized(one.way)
        path.write_bytes(content)
        with (
            open_engine(path, signature=judge.manifest.signature) as engine,
            assemble(judge.manifest, judge.labels, engine) as model,
        ):
            found = [model.real_outputs(model.invoke(_prepared(model, sample))) for sample in judge.samples]
            fidelity = _fidelity(model, judge, found, path)
    except (ConversionError, ModelError) as error:
        return replace(empty, broken=str(error))
    if not all(np.isfinite(output).all() for outputs in found for output in outputs):
        return replace(empty, broken="it answers NaN or Inf")
    noise = _worst_snr_db(judge.expected, found)
    tried = replace(empty, size_bytes=len(content), fidelity=fidelity, snr_db=noise, partitions=count_partitions(path))
    least = shipped_recipe(str(one.way["scheme"])).get("limits", {}).get("min_snr_db", -math.inf)
    if judge.manifest.task != "detection" and noise < least:
        return replace(tried, broken=f"signal to noise is {noise:.1f} dB, less than {least}")
    return tried


def _fidelity(model: Model, judge: _Judge, found: Sequence[Any], path: Path) -> float:
    if judge.evaluation is not None:
        told = figure_of(_candidate(path, judge.manifest, judge.labels), judge.evaluation, _EVALUATED).value
        return told if told is not None else 0.0
    return _accuracy(model, judge.samples, judge.classes) if judge.classes else _agreement(model, judge, found)


def _agreement(model: Model, judge: _Judge, found: Sequence[Any]) -> float:
    if judge.manifest.task in _CLASSIFYING:
        same = [model.top1_agrees(a, b) for a, b in zip(judge.expected, found, strict=True)]
        return sum(same) / len(same)
    differences = model.disagreements(judge.expected, found)
    return 1 - sum(differences) / len(differences)


def _worst_snr_db(expected: Sequence[Any], found: Sequence[Any]) -> float:
    worst = math.inf
    for a, b in zip(zip(*expected, strict=True), zip(*found, strict=True), strict=True):
        one, other = np.stack(a).astype(np.float64), np.stack(b).astype(np.float64)
        noise, power = float(np.square(other - one).sum()), float(np.square(one).sum())
        if noise > 0:
            worst = min(worst, 10 * math.log10(power / noise) if power > 0 else -_EXACT_DB)
    return min(worst, _EXACT_DB)


def _timed(tried: Sequence[Tried], folder: Path, sample: Sequence[Array]) -> list[Tried]:
    """All latencies again, in turns: only so they can be compared."""
    sound = [number for number, one in enumerate(tried) if one.size_bytes]
    tell_parent(f"latency of {len(sound)} candidates in turns")
    contents = [(folder / candidate_name(number)).read_bytes() for number in sound]
    found = dict(zip(sound, latencies_ms(contents, sample, rounds=_TIMED), strict=True))
    return [replace(one, latency_ms=round(found.get(number, 0.0), 4)) for number, one in enumerate(tried)]


if __name__ == "__main__":
    answer_parent(CHILD, _search)
