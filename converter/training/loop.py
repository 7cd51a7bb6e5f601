"""Runs the steps of a `Training` over a `Trainee`, epoch by epoch; a run that was cut off goes on with the next epoch.

The work directory holds each step's model and the last epoch's state; `state.json`, replaced atomically once they are
there, says how far it is. Batches are drawn by (seed, step, epoch), so where it was cut off changes nothing.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from converter.child import is_full
from converter.errors import CalibrationError, ConversionError
from converter.report.sections import CompressionStep
from converter.training import arithmetic
from converter.training.arithmetic import Weights
from converter.training.metric import choose_metric, compressed_bytes
from converter.training.samples import Samples
from converter.training.steps import Cluster, Distill, Prune, PruneChannels, QuantizeAware, Step, Training
from converter.training.trainee import Objective, Trainee
from edge_agent import schema
from edge_agent.disk import open_disk
from edge_agent.errors import Reason, StorageError

_STATE = "state.json"
_NO_ROOM_BYTES = 1 << 16
_SEEN = 64  # samples by whose answers is told what a model ends in
_DEPTHWISE_BITS = 8  # with fewer, depthwise layers lose too much
Open = Callable[[Path], Trainee]
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class _Progress:
    """How far a run is."""

    fingerprint: str  # of source, data and steps: another one begins anew
    done: tuple[CompressionStep, ...] = ()
    epoch: int = 0  # of the step after them
    metric_before: float | None = None  # of that step
    seconds: float = 0.0


class Loop:
    """`work`: what it goes on from; nothing else may stand in it."""

    def __init__(self, training: Training, samples: Samples, fingerprint: str, work: Path, say: Say) -> None:
        self._training = training
        self._work = work
        self._disk = open_disk(work)
        self._say = say
        self._fit, self._held_out = split(samples, training)
        self._progress = self._recall(fingerprint)

    def run(self, source: Path, open_model: Open) -> tuple[Path, tuple[CompressionStep, ...]]:
        """The model after all steps, and what each did."""
        model = source
        for number, step in enumerate(self._training.steps):
            after = self._work / f"{number}{open_model(model).suffix}" if number >= len(self._progress.done) else None
            if after is None:
                model = next(self._work.glob(f"{number}.*"))
                continue
            self._step(number, step, model, after, open_model)
            model = after
        return model, self._progress.done

    # --- one step ---------------------------------------------------------------------------------------------

    def _step(self, number: int, step: Step, before: Path, after: Path, open_model: Open) -> None:
        teacher = open_model(before)
        seen = self._fit.x[:_SEEN]
        first = choose_metric(self._training.loss, teacher.predict(seen), self._fit.y)
        if self._progress.metric_before is None:
            self._note(metric_before=first.of(teacher, self._held_out.x, self._held_out.y))
        trainee = self._begun(number, step, before, open_model)
        trainee.begin(step.learning_rate)
        if self._progress.epoch:
            with np.load(self._work / f"epoch-{self._progress.epoch}.npz", allow_pickle=False) as kept:
                trainee.load_state([kept[f"arr_{position}"] for position in range(len(kept.files))])
        answers, wanted = trainee.predict(seen).shape[1:], teacher.predict(seen[:1]).shape[1:]
        if answers != wanted:
            raise ConversionError(
                f"the student gives {list(answers)} a sample, its teacher {list(wanted)}",
                hint="give distill a student with the outputs of the source",
            )
        metric = choose_metric(self._training.loss, trainee.predict(seen), self._fit.y)
        shaper = self._shaper(number, step, trainee, teacher)
        soft = teacher.predict(self._fit.x) if isinstance(step, Distill) else None
        for epoch in range(self._progress.epoch, step.epochs):
            began_s = time.monotonic()
            self._epoch((number, epoch), trainee, shaper, metric.objective(step, first), soft)
            shaper.finish(epoch)
            with shaper.judged():
                reached = metric.of(trainee, self._held_out.x, self._held_out.y)
            self._say(f"{step.kind} {epoch + 1}/{step.epochs}: {metric.name} {reached:.4f}")
            with self._whole(f"epoch-{epoch + 1}.npz") as kept_there:
                np.savez(kept_there, *trainee.state())
            self._note(epoch=epoch + 1, seconds=self._progress.seconds + time.monotonic() - began_s)
            (self._work / f"epoch-{epoch}.npz").unlink(missing_ok=True)
        shaper.finish(step.epochs)
        with shaper.judged():
            reached = metric.of(trainee, self._held_out.x, self._held_out.y)
        with self._whole(after.name):
            trainee.save(after)
        settings = {key: value for key, value in schema.dump(step).items() if key != "kind"}
        assert self._progress.metric_before is not None
        told = CompressionStep(
            step.kind,
            settings,
            metric.name,
            self._progress.metric_before,
            reached,
            compressed_bytes(trainee),
            round(self._progress.seconds, 2),
        )
        self._keep(_Progress(self._progress.fingerprint, (*self._progress.done, told)))
        (self._work / f"epoch-{step.epochs}.npz").unlink(missing_ok=True)

    def _shaper(self, number: int, step: Step, trainee: Trainee, before: Trainee) -> "_Shaper":
        match step:
            case Prune():
                kept = _ZeroKeeper(trainee, before) if number and self._is_pruned(number - 1) else _Shaper()
                return _Pruner(step, trainee, -(-len(self._fit) // self._training.batch), kept)
            case Cluster():
                return _Clusterer(step, trainee)
            case QuantizeAware():
                return _Quantizer(step, trainee, keep_zeros=self._is_pruned(number))
            case _:
                return _ZeroKeeper(trainee) if self._is_pruned(number) else _Shaper()

    def _is_pruned(self, number: int) -> bool:
        """Whether the zeros in this step's model are a pruning's."""
        pruned = False
        for step in self._training.steps[: number + 1]:
            pruned = (pruned or isinstance(step, Prune)) and not (isinstance(step, Distill) and step.student)
        return pruned

    def _begun(self, number: int, step: Step, before: Path, open_model: Open) -> Trainee:
        """The model that the step trains, with its final structure."""
        shaped = next(iter(self._work.glob(f"begun-{number}.*")), None)
        if shaped is not None and self._progress.epoch:
            return open_model(shaped)
        trainee = open_model(before)
        match step:
            case PruneChannels(share=share, multiple=multiple):
                gone = trainee.narrow(share, multiple)
                self._say(f"{step.kind}: {gone} channels are taken out")
            case Distill(student=None, share=share):
                trainee.narrow(share, 1)
            case Distill(student=Path() as student):
                trainee = open_model(student)
            case _:
                return trainee
        with self._whole(f"begun-{number}{trainee.suffix}") as begun:
            trainee.save(begun)
        return trainee

    def _epoch(
        self,
        place: tuple[int, int],  # the number of the step, and of its epoch
        trainee: Trainee,
        shaper: "_Shaper",
        objective: Objective,
        soft: NDArray[np.float32] | None,
    ) -> None:
        order = np.random.default_rng((self._training.seed, *place)).permutation(len(self._fit))
        for position in range(0, len(order), self._training.batch):
            chosen = order[position : position + self._training.batch]
            shaper.before_batch()
            loss = trainee.train(
                self._fit.x[chosen], self._fit.y[chosen], None if soft is None else soft[chosen], objective
            )
            shaper.after_batch(place[1], position // self._training.batch)
            if not np.isfinite(loss):
                raise CalibrationError(
                    f"the loss became {loss} in epoch {place[1] + 1}",
                    hint="a smaller learning_rate, or look at the data",
                )

    # --- going on ---------------------------------------------------------------------------------------------

    def _recall(self, fingerprint: str) -> _Progress:
        if self._disk.exists(_STATE):
            try:
                kept = schema.parse(_Progress, json.loads(self._disk.read(_STATE)), strict=False)
            except (ValueError, schema.SchemaError):
                kept = None
            if kept is not None and kept.fingerprint == fingerprint:
                self._say(f"going on after {len(kept.done)} steps and {kept.epoch} epochs")
                return kept
        for name in self._disk.names(""):
            self._disk.remove(name)
        return _Progress(fingerprint)

    def _note(
        self, *, epoch: int | None = None, metric_before: float | None = None, seconds: float | None = None
    ) -> None:
        now = self._progress
        self._keep(
            _Progress(
                now.fingerprint,
                now.done,
                now.epoch if epoch is None else epoch,
                now.metric_before if metric_before is None else metric_before,
                now.seconds if seconds is None else seconds,
            )
        )

    @contextmanager
    def _whole(self, name: str) -> Iterator[Path]:
        """Where a file of the work directory is written by a framework; it goes where that fails.

        Raises:
            StorageError: there is no room for it.
        """
        path = self._work / name
        try:
            yield path
        except Exception as error:
            path.unlink(missing_ok=True)
            if is_full(str(error)) or self._disk.free_bytes() < _NO_ROOM_BYTES:
                raise StorageError(
                    f"there is no room left in {self._work}, where training goes on from",
                    reason=Reason.DISK_FULL,
                    hint="free some space and run it again: it goes on; or name a folder on another disk by --work",
                ) from error
            raise

    def _keep(self, progress: _Progress) -> None:
        self._disk.write_atomic(_STATE, json.dumps(schema.dump(progress)).encode())
        self._progress = progress


def split(samples: Samples, training: Training) -> tuple[Samples, Samples]:
    """What is trained on, and what is held out to judge by.

    Raises:
        CalibrationError: there are too few.
    """
    held_out = max(1, round(training.validation_share * len(samples)))
    if len(samples) - held_out < 2:
        raise CalibrationError(f"{len(samples)} samples to train on are too few", hint="give a training set: --train")
    order = np.random.default_rng(training.seed).permutation(len(samples))
    out, fit = order[:held_out], order[held_out:]
    return samples.select(fit), samples.select(out)


# --- what a step does around each batch -----------------------------------------------------------------------------


class _Shaper:
    """Holds the weights to a step's rule; this one has none."""

    def before_batch(self) -> None:
        """Just before the gradient is taken."""

    def after_batch(self, epoch: int, batch: int) -> None:
        """Just after the weights have moved."""

    def finish(self, epoch: int) -> None:
        """What is saved next follows the rule."""

    def judged(self) -> AbstractContextManager[None]:
        """Within it the weights are those that the model will be run with."""
        return nullcontext()


class _ZeroKeeper(_Shaper):
    """What an earlier step has set to 0 stays 0: in `before`, where that is not the trainee as it is."""

    def __init__(self, trainee: Trainee, before: Trainee | None = None) -> None:
        self._trainee = trainee
        source = before or trainee
        self._masks = {
            name: (weights != 0).astype(np.float32)
            for name in source.kernels
            if not (weights := source.read(name)).all()
        }

    def after_batch(self, epoch: int, batch: int) -> None:  # noqa: ARG002  # the rule is the same throughout
        for name, mask in self._masks.items():
            self._trainee.write(name, self._trainee.read(name) * mask)


class _Pruner(_Shaper):
    def __init__(self, step: Prune, trainee: Trainee, batches: int, zeros: _Shaper) -> None:
        self._step, self._trainee, self._batches, self._zeros = step, trainee, batches, zeros

    def after_batch(self, epoch: int, batch: int) -> None:
        self._zeros.after_batch(epoch, batch)
        done = epoch * self._batches + batch + 1
        self._prune(arithmetic.scheduled_sparsity(self._step.sparsity, done, self._step.epochs * self._batches))

    def finish(self, epoch: int) -> None:
        if epoch == self._step.epochs:
            self._prune(self._step.sparsity)

    def _prune(self, sparsity: float) -> None:
        for name, kernel in self._trainee.kernels.items():
            if not kernel.depthwise:  # few, and each is worth much
                weights = self._trainee.read(name)
                self._trainee.write(name, weights * arithmetic.magnitude_mask(weights, sparsity))


class _Clusterer(_Shaper):
    def __init__(self, step: Cluster, trainee: Trainee) -> None:
        self._trainee = trainee
        self._index = {name: arithmetic.cluster_index(trainee.read(name), step.clusters) for name in trainee.kernels}
        self._zeros = {name: trainee.read(name) == 0 for name in trainee.kernels}
        self._project()

    def after_batch(self, epoch: int, batch: int) -> None:  # noqa: ARG002  # the rule is the same throughout
        self._project()

    def _project(self) -> None:
        for name, index in self._index.items():
            centers = arithmetic.to_centers(self._trainee.read(name), index)
            centers[self._zeros[name]] = 0
            self._trainee.write(name, centers)


class _Quantizer(_Shaper):
    """Straight through: the gradient of the quantized weights moves the exact ones."""

    def __init__(self, step: QuantizeAware, trainee: Trainee, *, keep_zeros: bool) -> None:
        self._zeros = _ZeroKeeper(trainee) if keep_zeros else _Shaper()
        self._step, self._trainee = step, trainee
        self._exact: dict[str, Weights] = {}
        self._rounded: dict[str, Weights] = {}

    def before_batch(self) -> None:
        for name, kernel in self._trainee.kernels.items():
            bits = max(self._step.weight_bits, _DEPTHWISE_BITS) if kernel.depthwise else self._step.weight_bits
            self._exact[name] = weights = self._trainee.read(name)
            self._rounded[name] = arithmetic.fake_quantize(weights, bits, kernel.channel_axis)
            self._trainee.write(name, self._rounded[name])

    @contextmanager
    def judged(self) -> Iterator[None]:
        self.before_batch()
        yield
        for name, exact in self._exact.items():
            self._trainee.write(name, exact)

    def after_batch(self, epoch: int, batch: int) -> None:
        for name, exact in self._exact.items():
            self._trainee.write(name, exact + (self._trainee.read(name) - self._rounded[name]))
        self._zeros.after_batch(epoch, batch)
