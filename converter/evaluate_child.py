"""The child that runs models: `python -m converter.evaluate_child FOLDER`, started by `evaluate`.

It describes a model (loads it, holds it to its framework's answers) or compares the float with the converted one
through the very transform, engine and decoder of the device, and takes golden vectors.
"""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converter.changed import write_changed
from converter.child import answer_parent
from converter.dataset import open_dataset
from converter.errors import ConversionError
from converter.evaluate import CHILD, GOLDEN_NAME, Comparison, Data, Measured, OutputError, Task, format_spec
from converter.samples import Dataset, Seeded, spread
from converter.tflite_schema import count_partitions
from converter.threshold import calibrated_threshold
from edge_agent import schema
from edge_agent.inference.engine import Engine
from edge_agent.inference.guess import guess
from edge_agent.inference.model import Model, assemble
from edge_agent.inference.model_file import inspect_model
from edge_agent.inference.said import Said
from edge_agent.inference.tflite import open_engine
from edge_agent.release.golden import GoldenVectors, format_golden
from edge_agent.release.manifest import Manifest, parse_manifest
from edge_agent.transform.prepared import Prepared
from edge_agent.transform.tensor import Array, TensorSpec

SEEDED_SAMPLES = 16  # where no representative data is given
_REFERENCE_TOLERANCE = 1e-3  # of the largest value; float conversions stay below 1e-5
_LATENCY_S, _LATENCY_RUNS = 0.5, 100  # whichever comes first
_GOLDEN_BYTES, _GOLDEN_SHARE = 262_144, 0.25  # whichever is more, the share being of the model's size
_TOLERANCE_HEADROOM, _TOLERANCE_CAP = 2.0, 0.25

Real = NDArray[np.float32]


def _work(folder: Path, request: Mapping[str, Any]) -> object:
    if "describe" in request:
        reference = Path(request["reference"]) if request["reference"] else None
        return _describe(request, reference)
    task = schema.parse(Task, request["task"], strict=True)
    return schema.dump(_compare(task, parse_manifest(request["manifest"].encode()), folder))


def _describe(request: Mapping[str, Any], reference: Path | None) -> dict[str, object]:
    path = Path(request["describe"])
    said = schema.parse(Said, request["said"], strict=True)
    with open_engine(path, signature=said.signature) as engine:
        if reference is not None:
            _check_references(engine, reference, request["output_names"])
        guessed = guess(inspect_model(path), engine, said)
        manifest = guessed.manifest
        keys = ("task", "input", "output", "state", "constants")
        told = {name: schema.dump(getattr(manifest, name)) for name in keys}
        told["input"].pop("decode", None)  # guessed for one exact picture; an artifact is for streams
        return {
            "inputs": [format_spec(tensor) for tensor in engine.inputs],
            "outputs": [format_spec(tensor) for tensor in engine.outputs],
            "guessed": told,
            "labels": list(guessed.labels),
            "notes": list(guessed.notes),
        }


def _check_references(engine: Engine, reference: Path, output_names: Sequence[str]) -> None:
    with np.load(reference, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    names = [name.removeprefix("in:") for name in arrays if name.startswith("in:")]
    for number in range(len(arrays[f"in:{names[0]}"])):
        found = engine.invoke([_like(arrays, tensor, names, number) for tensor in engine.inputs])
        for name, output in zip(output_names, found, strict=True):
            _check_reference(name, arrays[f"out:{name}"][number], output)


def _like(arrays: Mapping[str, Array], tensor: TensorSpec, names: Sequence[str], number: int) -> Array:
    """The reference input of a tensor, found by name: `serving_default_image:0` takes `image`."""
    best = names[0] if len(names) == 1 else max(names, key=lambda name: (name in tensor.name, len(name)))
    array: Array = arrays[f"in:{best}"][number].reshape(tensor.shape).astype(tensor.dtype)
    return array


def _check_reference(name: str, expected: Array, found: Array) -> None:
    error = float(np.abs(found.reshape(expected.shape) - expected).max(initial=0.0))
    largest = float(np.abs(expected).max(initial=0.0))
    if not error <= _REFERENCE_TOLERANCE * max(largest, 1e-6):
        raise ConversionError(
            f"output {name} of the .tflite differs from the framework's by {error:.3g} (largest value {largest:.3g})",
            hint="this is a fault of the framework's converter: export the model as .tflite yourself and compare",
        )


def _compare(task: Task, manifest: Manifest, folder: Path) -> Comparison:
    with ExitStack() as opened:

        def load(name: str) -> Model:
            engine = opened.enter_context(open_engine(Path(name), signature=manifest.signature))
            return opened.enter_context(assemble(manifest, task.labels, engine))

        converted = load(task.converted)
        original = load(task.float_model) if task.float_model else None
        data = _open_data(task.data, manifest, (original or converted).engine.inputs)
        threshold = None
        if manifest.task == "anomaly" and manifest.output.threshold is None and task.data is not None:
            threshold = calibrated_threshold(converted, data, task.false_alarm_share)
            manifest = replace(manifest, output=replace(manifest.output, threshold=threshold))
            converted = assemble(manifest, task.labels, converted.engine)
            original = assemble(manifest, task.labels, original.engine) if original else None
        found = _answers(converted, data, "the converted model")
        expected = _answers(original, data, "the float model") if original else None
        golden = _golden(converted, data, found, _affordable(converted, task))
        if golden is not None:
            (folder / GOLDEN_NAME).write_bytes(format_golden(golden))
        sample = next(iter(data.inputs(converted.engine.inputs)))
        float_sample = next(iter(data.inputs(original.engine.inputs))) if original else []
        latency = _latencies([(converted, sample), *([(original, float_sample)] if original else [])])
        measured = _measured(task.converted, latency[0])
        common = Comparison(
            samples=len(data.names),
            representative=task.data is not None,
            converted=measured,
            golden_vectors=len(golden) if golden else 0,
            golden_tolerance=_tolerance(converted, golden, task.tolerance_floor) if golden else None,
            anomaly_threshold=threshold,
        )
        if original is None or expected is None or task.float_model is None:
            return common
        errors = _output_errors(_answer_names(converted, task), expected, found, signal=manifest.task != "detection")
        common = replace(common, float_model=_measured(task.float_model, latency[1]), outputs=errors)
        agreeing = [original.top1_agrees(a, b) for a, b in zip(expected, found, strict=True)]
        write_changed(original, converted, data, agreeing, folder)
        return _with_agreement(common, original.disagreements(expected, found), agreeing)


def _with_agreement(comparison: Comparison, differences: Sequence[float], agreeing: Sequence[bool]) -> Comparison:
    return replace(
        comparison,
        top1_agreement=_rounded(sum(agreeing) / len(agreeing)),
        max_disagreement=_rounded(max(differences)),
        mean_disagreement=_rounded(sum(differences) / len(differences)),
    )


def _open_data(data: Data | None, manifest: Manifest, tensors: Sequence[TensorSpec]) -> Dataset:
    if data is None:
        return Seeded(SEEDED_SAMPLES, manifest.input)
    return open_dataset(
        Path(data.path),
        manifest.input,
        tensors,
        input_names=data.input_names,
        limit=data.limit,
        skip_unreadable=data.skip_unreadable,
    )


def _answers(model: Model, data: Dataset, what: str) -> list[list[Real]]:
    answers = []
    for name, inputs in zip(data.names, data.inputs(model.engine.inputs), strict=True):
        outputs = model.real_outputs(model.invoke(Prepared(tuple(inputs))))
        if not all(np.isfinite(output).all() for output in outputs):
            raise ConversionError(
                f"{what} answers NaN or Inf to {name}", hint="check the weights and the normalization"
            )
        answers.append(outputs)
    return answers


def _affordable(model: Model, task: Task) -> int:
    """Golden vectors travel with the model: they are to be a fraction of it, but one is always worth it."""
    one = sum(
        math.prod(tensor.shape) * tensor.dtype.itemsize for tensor in (*model.engine.inputs, *model.engine.outputs)
    )
    budget = max(_GOLDEN_BYTES, int(_GOLDEN_SHARE * Path(task.converted).stat().st_size))
    return min(task.golden_vectors, max(1, budget // one))


def _golden(model: Model, data: Dataset, found: Sequence[Sequence[Real]], count: int) -> GoldenVectors | None:
    """Vectors with as many different first answers as there are, the rest spread evenly."""
    if count == 0:
        return None
    firsts: dict[int, int] = {}
    for position, outputs in enumerate(found):
        firsts.setdefault(int(np.argmax(outputs[0])), position)
    order = [*firsts.values(), *spread(len(found), count), *range(len(found))]
    chosen = sorted(list(dict.fromkeys(order))[:count])
    inputs = [sample for position, sample in enumerate(data.inputs(model.engine.inputs)) if position in chosen]
    return GoldenVectors(tuple(map(tuple, inputs)), tuple(tuple(found[position]) for position in chosen))


def _tolerance(model: Model, golden: GoldenVectors, floor: float) -> float:
    """Other kernels round by about a step of the input: what such noise does to the answers, with headroom."""
    generator = np.random.default_rng(0)
    noisy = [
        model.real_outputs(model.invoke(Prepared(tuple(_disturbed(array, generator) for array in inputs))))
        for inputs in golden.inputs
    ]
    worst = max(model.disagreements(golden.outputs, noisy))
    return math.ceil(min(max(_TOLERANCE_HEADROOM * worst, floor), _TOLERANCE_CAP) * 1e4) / 1e4


def _disturbed(array: Array, generator: np.random.Generator) -> Array:
    if array.dtype.kind == "f":
        step = float(np.ptp(array)) / 255
        noise: Array = (array + generator.uniform(-step, step, array.shape)).astype(array.dtype)
        return noise
    if array.dtype.itemsize > 2:  # numbers that count something
        return array
    limits = np.iinfo(array.dtype)
    moved: Array = np.clip(array.astype(np.int64) + generator.integers(-1, 2, array.shape), limits.min, limits.max)
    return moved.astype(array.dtype)


def _answer_names(model: Model, task: Task) -> list[str]:
    """As the source calls them; without those that are only fed back. A signature is run by its own names."""
    names = dict(zip((tensor.name for tensor in model.engine.outputs), task.output_names, strict=True))
    signature = model.manifest.signature
    return [tensor.name if signature else names[tensor.name] for tensor in model.outputs]


def _output_errors(
    names: Sequence[str], expected: Sequence[Sequence[Real]], found: Sequence[Sequence[Real]], *, signal: bool
) -> tuple[OutputError, ...]:
    columns = zip(names, zip(*expected, strict=True), zip(*found, strict=True), strict=True)
    return tuple(_output_error(name, a, b, signal=signal) for name, a, b in columns)


def _output_error(name: str, expected: Sequence[Real], found: Sequence[Real], *, signal: bool) -> OutputError:
    a, b = np.stack(expected).astype(np.float64), np.stack(found).astype(np.float64)
    error, power = float(np.square(b - a).sum()), float(np.square(a).sum())
    snr_db = None
    if signal and error > 0:
        snr_db = round(10 * math.log10(power / error), 2) if power > 0 else -math.inf
    return OutputError(name, _rounded(float(np.abs(b - a).max(initial=0.0))), snr_db)


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


def _measured(path: str, latency_ms: float) -> Measured:
    return Measured(Path(path).stat().st_size, count_partitions(Path(path)), latency_ms)


def _latencies(models: Sequence[tuple[Model, Sequence[Array]]]) -> list[float]:
    """Median invoke time of each, ms, taken in turns so that both see the same load of the machine."""
    taken: list[list[float]] = [[] for _ in models]
    for _ in _rounds():
        for (model, inputs), times in zip(models, taken, strict=True):
            started = time.perf_counter()
            model.invoke(Prepared(tuple(inputs)))
            times.append((time.perf_counter() - started) * 1000)
    return [round(float(np.median(times[1:])), 4) for times in taken]


def _rounds() -> Iterator[int]:
    until = time.perf_counter() + _LATENCY_S
    for number in range(_LATENCY_RUNS):
        yield number
        if number >= 4 and time.perf_counter() > until:
            return


if __name__ == "__main__":
    answer_parent(CHILD, _work)
