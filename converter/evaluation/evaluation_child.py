"""The child that judges: `python -m converter.evaluation.evaluation_child FOLDER`, started by `evaluation`.

Every sample goes through each model before the next one is read, so that a sample is left out for all or for none.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from converter.changed import MOST_EXAMPLES
from converter.child import answer_parent
from converter.data.examples import ClassTruth, Example, Examples, Request, Truth, prepare
from converter.data.files import listed
from converter.data.normalization import check_normalization
from converter.data.opening import labeled_only, open_examples
from converter.dataset import open_dataset
from converter.errors import CalibrationError, ConversionError
from converter.evaluation.checks import Seen, calibration_doubts, doubts
from converter.evaluation.evaluation import CHILD
from converter.evaluation.scorer import Scorer, figure, judging, new_scorer
from converter.metrics.interval import bootstrap, mcnemar, nothing_seen, paired_difference
from converter.samples import spread
from converter.thumbnail import thumbnail_of
from edge_agent.errors import FrameError, ModelError
from edge_agent.inference.model import Model, assemble
from edge_agent.inference.tflite import open_engine
from edge_agent.release.manifest import parse_manifest

# Answers in words of these tasks are not more than a count, or never quite the same.
_BY_CHANCE = 0.05
_NOT_IN_WORDS = ("pose", "regression")


class _Judge(NamedTuple):
    name: str
    model: Model
    scorer: Scorer


def figure_of(candidate: Mapping[str, Any], data: Mapping[str, Any], most: int) -> "Figure":
    """The figure that stands for all of one model, on at most `most` samples: what a search asks of its candidates.

    Raises:
        CalibrationError, ConversionError: as `evaluation.evaluate`.
    """
    with ExitStack() as opened:
        judge = _judge(opened, candidate)
        judged = _judged([judge], data, most)
        return Figure(judge.scorer.metric, figure(judge.scorer.value()), len(judged.run.used), judged.known)


class Figure(NamedTuple):
    metric: str
    value: float | None  # None: not defined on this data
    samples: int
    known: int  # samples with a label that there are


def _work(folder: Path, request: Mapping[str, Any]) -> object:  # noqa: ARG001 - all is in the request
    with ExitStack() as opened:
        judges = [_judge(opened, each) for each in request["candidates"]]
        first, last = judges[0], judges[-1]
        tensors, task = first.model.inputs, last.model.manifest.task
        run, notes, _ = _judged(judges, request["data"])
        # of a model with a state, samples hold that too and cannot be told again
        if request["calibration"] is not None and len(tensors) == len(first.model.engine.inputs):
            seen = _calibrated(request["calibration"], first.model)
            notes += calibration_doubts(run.seen, seen, [example.name for example in run.used])
        return {
            "samples": len(run.used),
            "digest": Examples(tuple(run.used)).digest,
            "metric": last.scorer.metric,
            "figures": {each.name: _figures(each, len(run.used)) for each in judges},
            "values": {each.name: figure(each.scorer.value()) for each in judges},
            "comparison": _compared(first.scorer, last.scorer, len(run.used)) if len(judges) > 1 else None,
            "changed": list(_changed(run, task)) if len(judges) > 1 else [],
            "notes": notes,
        }


class _Judged(NamedTuple):
    run: "_Run"
    notes: list[str]
    known: int  # samples with a label


def _judged(judges: Sequence[_Judge], data: Mapping[str, Any], most: int | None = None) -> _Judged:
    """The labeled data through each model; `most` samples of it, spread evenly."""
    first, last = judges[0], judges[-1]
    spec, tensors = first.model.manifest.input, first.model.inputs
    task = last.model.manifest.task
    wanted = Request(Path(data["path"]), task, spec, data["skip_unreadable"])
    names = data["input_names"] if len(tensors) == len(data["input_names"]) else ()
    found = labeled_only(open_examples(wanted, tensors, names))
    known = found.items
    _check_known(known, judges)
    check_normalization(known, spec, tensors[0])
    chosen = known if most is None else [known[position] for position in spread(len(known), most)]
    run = _run(chosen, judges)
    bad = run.bad
    if bad and not wanted.skip_unreadable:
        raise CalibrationError(
            f"{len(bad)} of {len(chosen)} samples cannot be used: {listed(bad)}",
            hint="mend or remove them, or pass --skip-unreadable to go on without them",
        )
    if not run.used:
        raise CalibrationError(f"no sample of {data['path']} can be used: {listed(bad)}")
    left = [*found.left_out, *bad]
    notes = [f"{len(left)} left out: {listed(left)}"] if left else []
    notes += [*found.notes, *doubts(run.used, task)]
    return _Judged(run, notes, len(known))


def _judge(opened: ExitStack, candidate: Mapping[str, Any]) -> _Judge:
    manifest = parse_manifest(candidate["manifest"].encode())
    engine = opened.enter_context(open_engine(Path(candidate["path"]), signature=manifest.signature))
    model = opened.enter_context(assemble(judging(manifest), tuple(candidate["labels"]), engine))
    return _Judge(candidate["name"], model, new_scorer(model, manifest.output.score_threshold))


def _check_known(examples: Sequence[Example], judges: Sequence[_Judge]) -> None:
    """Every model has a word for what is true."""
    truths: list[Truth] = [example.truth for example in examples if example.truth is not None]
    for judge in judges:
        unknown = judge.scorer.unknown(truths)
        if unknown:
            labels = judge.model.labels
            has = f"has {listed(labels)}" if labels else "has no labels"
            hint = "name the classes of the data like the model's labels, or by number; --labels gives a model labels"
            raise CalibrationError(
                f"the data has {len(unknown)} labels that {judge.name} does not know: {listed(unknown)}; it {has}",
                hint=hint,
            )


class _Run(NamedTuple):
    used: list[Example]
    bad: list[str]
    answers: list[list[str]]  # of each sample by each model
    seen: Seen


def _run(examples: Sequence[Example], judges: Sequence[_Judge]) -> _Run:
    run = _Run([], [], [], Seen())
    for example in examples:
        assert example.truth is not None
        try:
            answers = []
            prepared = [prepare(judge.model, example.content) for judge in judges]
            outputs = []
            for judge, each in zip(judges, prepared, strict=True):
                judge.model.reset_state()  # samples are not one stream
                outputs.append(judge.model.invoke(each))
            for judge, each, output in zip(judges, prepared, outputs, strict=True):
                answers.append(judge.scorer.add(output, each, example.truth))
        except FrameError as error:
            run.bad.append(f"{example.name}: {error}")
            continue
        except ModelError as error:
            raise ConversionError(f"at {example.name}: {error}", hint=error.hint) from error
        run.used.append(example)
        run.answers.append(answers)
        run.seen.add(prepared[0].inputs)
    return run


def _calibrated(data: Mapping[str, Any], model: Model) -> Seen:
    dataset = open_dataset(
        Path(data["path"]),
        model.manifest.input,
        model.inputs,
        input_names=data["input_names"],
        limit=data["limit"],
        skip_unreadable=data["skip_unreadable"],
    )
    seen = Seen()
    for inputs in dataset.inputs(model.inputs):
        seen.add(inputs)
    return seen


def _figures(judge: _Judge, samples: int) -> dict[str, Any]:
    found = judge.scorer.metrics()
    name = f"{judge.scorer.metric}_interval"
    if name not in found:
        interval = bootstrap(judge.scorer.value, samples, resamples=judge.scorer.resamples)
        # draws that are all the same tell of one sample, or of nothing but right answers: not of certainty
        found[name] = [figure(end) for end in interval] if interval and interval[0] < interval[1] else None
    return found


def _compared(first: Scorer, last: Scorer, samples: int) -> dict[str, Any]:
    """How much worse the last one is, and whether that is more than chance."""
    one, other = first.value(), last.value()
    if first.metric != last.metric or one is None or other is None:
        return {"drop": None, "interval": None, "verdict": "not comparable", "mcnemar": None}
    drop = one - other
    interval = paired_difference(first.value, last.value, samples, resamples=last.resamples)
    before, after = first.right(), last.right()
    test = mcnemar(before, after)._asdict() if before is not None and after is not None else None
    if test and test["only_first"] == test["only_second"] == 0:
        interval = nothing_seen(samples)
    elif interval and interval[0] == interval[1] and drop:
        interval = None  # draws that are all the same tell of a handful of samples, not of certainty
    return {
        "drop": figure(drop),
        "interval": [figure(end) for end in interval] if interval else None,
        "verdict": _verdict(drop, interval, test["p_value"] if test else None),
        "mcnemar": {name: figure(value) for name, value in test.items()} if test else None,
    }


def _verdict(drop: float, interval: tuple[float, float] | None, p: float | None) -> str:
    """`p`: of McNemar's test, where answers are right or wrong. What that takes for chance is not real."""
    if interval is None:
        return "too few samples to tell"
    if p is not None and p >= _BY_CHANCE and drop:
        return "within noise"
    if interval[0] > 0:
        return "a real drop"
    if interval[1] < 0:
        return "a real gain"
    return "no difference" if drop == interval[0] == interval[1] else "within noise"


def _changed(run: _Run, task: str) -> Iterator[dict[str, Any]]:
    """The first samples with another answer; those that were right before come first."""
    if task in _NOT_IN_WORDS:
        return
    places = [place for place, answers in enumerate(run.answers) if answers[0] != answers[-1]]

    def was_right(place: int) -> bool:
        truth = run.used[place].truth
        return isinstance(truth, ClassTruth) and str(truth.label).casefold() == run.answers[place][0].casefold()

    for place in sorted(places, key=lambda place: not was_right(place))[:MOST_EXAMPLES]:
        used, answers = run.used[place], run.answers[place]
        yield {
            "sample": used.name, "before": answers[0], "after": answers[-1], "picture": thumbnail_of(used.content),
        }  # fmt: skip


if __name__ == "__main__":
    np.seterr(all="ignore")
    answer_parent(CHILD, _work)
