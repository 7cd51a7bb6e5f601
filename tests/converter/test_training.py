"""The arithmetic and the bookkeeping of training, without a framework: a trainee of numpy stands in for a model."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from converter.errors import CalibrationError, ConversionError, RecipeError
from converter.recipe import build_recipe, read_recipe
from converter.training.arithmetic import (
    cluster_index,
    fake_quantize,
    magnitude_mask,
    scheduled_sparsity,
    to_centers,
)
from converter.training.channels import Channels
from converter.training.loop import Loop, split
from converter.training.run import check_trainable
from converter.training.samples import Samples, Selected
from converter.training.steps import Cluster, Distill, Finetune, Prune, QuantizeAware, Training
from converter.training.trainee import Inputs, Kernel, Objective, Real
from edge_agent.errors import ModelError, StorageError

GENERATOR = np.random.default_rng(0)
WEIGHTS = GENERATOR.standard_normal((3, 3, 8, 16)).astype(np.float32)


def test_the_schedule_rises_to_its_end_and_stays_there() -> None:
    values = [scheduled_sparsity(0.8, batch, 90) for batch in range(91)]
    assert values == sorted(values)
    assert (values[0], values[60], values[90]) == (0.0, 0.8, 0.8)
    assert values[20] > 0.4  # fast at first


@given(st.floats(0.01, 0.99))
def test_a_mask_takes_the_smallest_and_exactly_as_many(sparsity: float) -> None:
    mask = magnitude_mask(WEIGHTS, sparsity)
    assert int((mask == 0).sum()) == int(sparsity * WEIGHTS.size)
    if 0 < (mask == 0).sum() < mask.size:
        assert np.abs(WEIGHTS[mask == 0]).max() <= np.abs(WEIGHTS[mask == 1]).min()


@given(st.integers(2, 40), st.floats(0.0, 0.9))
def test_clusters_are_as_few_as_asked_and_zeros_stay_zeros(clusters: int, sparsity: float) -> None:
    weights = WEIGHTS * magnitude_mask(WEIGHTS, sparsity)
    clustered = to_centers(weights, cluster_index(weights, clusters))
    assert len(np.unique(clustered)) <= clusters
    assert ((clustered == 0) >= (weights == 0)).all()


def test_clusters_move_with_the_mean_of_their_weights() -> None:
    index = cluster_index(WEIGHTS, 4)
    before = to_centers(WEIGHTS, index)
    assert np.allclose(to_centers(before + 0.5, index), before + 0.5, atol=1e-6)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_quantized_weights_have_their_levels_for_each_channel(bits: int) -> None:
    quantized = fake_quantize(WEIGHTS, bits, 3)
    for channel in range(WEIGHTS.shape[3]):
        assert len(np.unique(quantized[..., channel])) <= 2**bits - 1
        step = np.abs(WEIGHTS[..., channel]).max() / (2 ** (bits - 1) - 1)
        assert np.abs(quantized[..., channel] - WEIGHTS[..., channel]).max() <= step / 2 + 1e-6


# --- channels -------------------------------------------------------------------------------------------------------


def test_channels_that_are_added_go_together_and_the_least_important_go_first() -> None:
    channels = Channels()
    one, other = channels.new([3.0, 1.0, 2.0, 4.0]), channels.new([3.0, 1.0, 2.0, 4.0])
    channels.join(one, other)
    kept = channels.keep(0.5, 1)
    assert kept[one].tolist() == kept[other].tolist() == [True, False, False, True]


def test_what_is_pinned_stays_and_a_group_never_loses_all() -> None:
    channels = Channels()
    free, pinned, single = channels.new([1.0] * 4), channels.new([1.0] * 4), channels.new([1.0])
    channels.pin(pinned)
    kept = channels.keep(0.99, 1)
    assert (kept[free].sum(), kept[pinned].sum(), kept[single].sum()) == (1, 4, 1)


def test_what_stays_of_a_wide_layer_is_a_multiple() -> None:
    channels = Channels()
    wide, narrow = channels.new(np.arange(50.0).tolist()), channels.new(np.arange(6.0).tolist())
    kept = channels.keep(0.3, 8)
    assert (kept[wide].sum(), kept[narrow].sum()) == (32, 5)


def test_tensors_that_are_added_by_broadcasting_keep_their_channels() -> None:
    channels = Channels()
    wide, one = channels.new([1.0] * 4), channels.new([1.0])
    channels.join(wide, one)
    assert channels.keep(0.5, 1).all()


# --- the loop ---------------------------------------------------------------------------------------------------------


class Line:
    """A trainee: softmax of x times weights, by plain gradient descent."""

    suffix = ".npy"
    trained = 0  # batches, over all of them
    ends_after: int | None = None

    def __init__(self, path: Path) -> None:
        self.weights: Real = np.load(path)

    input_shape = (12,)
    kernels: Mapping[str, Kernel] = {"w": Kernel(depthwise=False, channel_axis=1)}

    def read(self, name: str) -> Real:
        assert name == "w"
        return self.weights.copy()

    def write(self, name: str, weights: Real) -> None:
        assert name == "w"
        self.weights = weights

    def begin(self, learning_rate: float) -> None:
        self._rate = learning_rate

    def train(self, x: Real, y: NDArray[Any], teacher: Real | None, objective: Objective) -> float:
        if Line.ends_after is not None and Line.trained >= Line.ends_after:
            raise KeyboardInterrupt
        Line.trained += 1
        shares = self.predict(x)
        wanted = np.eye(shares.shape[1], dtype=np.float32)[y]
        if teacher is not None:
            wanted = objective.teacher_weight * teacher + (1 - objective.teacher_weight) * wanted
        self.weights = self.weights - self._rate * x.T @ (shares - wanted) / len(x)
        return float(-np.log(np.maximum(shares[np.arange(len(y)), y], 1e-9)).mean())

    def predict(self, x: Inputs) -> Real:
        x = x[:]
        raised = np.exp(x @ self.weights - (x @ self.weights).max(axis=1, keepdims=True))
        shares: Real = (raised / raised.sum(axis=1, keepdims=True)).astype(np.float32)
        return shares

    def narrow(self, share: float, multiple: int) -> int:
        raise ConversionError("no channel can be taken out")

    def state(self) -> Sequence[NDArray[Any]]:
        return [self.weights]

    def load_state(self, state: Sequence[NDArray[Any]]) -> None:
        (self.weights,) = state

    def save(self, path: Path) -> None:
        np.save(path, self.weights)


X = GENERATOR.standard_normal((200, 12)).astype(np.float32)
Y = (X @ GENERATOR.standard_normal((12, 4))).argmax(axis=1)
STEPS = (
    Finetune("finetune", epochs=20, learning_rate=0.5),
    Prune("prune", sparsity=0.5, epochs=3, learning_rate=0.1),
    Cluster("cluster", clusters=5, epochs=2, learning_rate=0.1),
)


@pytest.fixture(autouse=True)
def _whole_runs() -> None:
    Line.trained, Line.ends_after = 0, None


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "model.npy"
    np.save(path, np.full((12, 4), 0.01, np.float32))
    return path


def loop(work: Path, steps: Any = STEPS, *, said: list[str] | None = None, **changes: Any) -> Loop:
    work.mkdir(exist_ok=True)
    told = said if said is not None else []
    return Loop(Training(steps, **changes), Samples(Selected(X), Y), "f", work, told.append)


def test_each_step_goes_on_from_the_one_before_and_holds_what_that_promised(source: Path, tmp_path: Path) -> None:
    model, steps = loop(tmp_path / "work").run(source, Line)
    weights = np.load(model)
    assert [step.name for step in steps] == ["finetune", "prune", "cluster"]
    assert steps[0].metric_after > 0.7 > steps[0].metric_before
    assert (weights == 0).sum() == 24  # of 48
    assert len(np.unique(weights)) <= 5
    assert steps[2].metric_before == steps[1].metric_after
    assert steps[2].size_bytes < steps[1].size_bytes < steps[0].size_bytes


@pytest.mark.parametrize("cut_after", [0, 1, 50, 119, 120, 125, 137, 145])
def test_a_run_that_was_cut_off_ends_as_if_it_had_not_been(source: Path, tmp_path: Path, cut_after: int) -> None:
    whole, steps = loop(tmp_path / "whole").run(source, Line)
    all_batches = Line.trained
    Line.trained, Line.ends_after = 0, cut_after
    with pytest.raises(KeyboardInterrupt):
        loop(tmp_path / "work").run(source, Line)
    Line.trained, Line.ends_after = 0, None
    said: list[str] = []
    model, again = loop(tmp_path / "work", said=said).run(source, Line)
    assert np.load(model).tobytes() == np.load(whole).tobytes()
    assert [step.metric_after for step in again] == [step.metric_after for step in steps]
    if cut_after >= 6:  # an epoch
        assert any("going on after" in line for line in said)
        assert Line.trained <= all_batches - cut_after + 6


def test_another_recipe_begins_anew(source: Path, tmp_path: Path) -> None:
    loop(tmp_path / "work").run(source, Line)
    Line.trained = 0
    Loop(Training(STEPS), Samples(Selected(X), Y), "another", tmp_path / "work", lambda _: None).run(source, Line)
    assert Line.trained == 6 * 25


def test_a_state_that_rots_begins_anew(source: Path, tmp_path: Path) -> None:
    loop(tmp_path / "work").run(source, Line)
    (tmp_path / "work" / "state.json").write_text("{")
    Line.trained = 0
    loop(tmp_path / "work").run(source, Line)
    assert Line.trained == 6 * 25


def test_pruned_weights_stay_0_through_what_follows(source: Path, tmp_path: Path) -> None:
    steps = (*STEPS[:2], QuantizeAware("qat", weight_bits=4, epochs=2), Finetune("finetune", epochs=2))
    model, _ = loop(tmp_path / "work", steps).run(source, Line)
    assert (np.load(model) == 0).sum() >= 24


def test_a_student_takes_the_place_of_its_teacher(source: Path, tmp_path: Path) -> None:
    student = tmp_path / "student.npy"
    np.save(student, np.zeros((12, 4), np.float32))
    steps = (STEPS[0], Distill("distill", student=student, epochs=20, learning_rate=0.5))
    model, told = loop(tmp_path / "work", steps).run(source, Line)
    assert told[1].metric_after > 0.7
    assert np.load(model).any()


def test_a_loss_that_runs_away_is_an_error(source: Path, tmp_path: Path) -> None:
    np.save(source, np.full((12, 4), np.nan, np.float32))
    with pytest.raises(CalibrationError, match="the loss became nan in epoch 1"):
        loop(tmp_path / "work", (Finetune("finetune", epochs=1),), loss="crossentropy").run(source, Line)


@pytest.mark.parametrize("file", ["epoch-3.npz", "0.npy"])
def test_without_room_to_go_on_from_training_says_where_and_goes_on_later(
    file: str, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A framework has its own words for it, and leaves half of the file."""
    savez, save = np.savez, np.save

    def full(path: Path, write: Any) -> None:
        if path.name == file:
            path.write_bytes(b"half")
            raise RuntimeError("writer failed: [Errno 28] No space left on device")
        write()

    monkeypatch.setattr(np, "savez", lambda path, *arrays: full(path, lambda: savez(path, *arrays)))
    monkeypatch.setattr(np, "save", lambda path, array: full(path, lambda: save(path, array)))
    with pytest.raises(
        StorageError, match=f"no room left in {tmp_path / 'work'}, where training goes on from"
    ) as caught:
        loop(tmp_path / "work").run(source, Line)
    assert "--work" in str(caught.value.hint)
    assert not (tmp_path / "work" / file).exists()
    monkeypatch.undo()
    said: list[str] = []
    loop(tmp_path / "work", said=said).run(source, Line)
    assert said[0].startswith("going on after 0 steps")


@pytest.mark.parametrize(
    ("y", "words"),
    [
        (np.full(200, 4), "no class numbers from 0 to 3"),
        (np.zeros((200, 3), np.float32), "gives 4 values and the training set has 3"),
    ],
)
def test_labels_that_are_not_the_models_are_named(source: Path, tmp_path: Path, y: Any, words: str) -> None:
    (tmp_path / "work").mkdir()
    wrong = Loop(Training(STEPS), Samples(Selected(X), y), "f", tmp_path / "work", lambda _: None)
    with pytest.raises(CalibrationError, match=words):
        wrong.run(source, Line)


# --- what is asked ----------------------------------------------------------------------------------------------------


def test_a_recipe_names_steps_and_its_paths_lie_beside_it(tmp_path: Path) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text(
        '[training]\ndata = "t.npz"\n[[training.steps]]\nkind = "prune"\nsparsity = 0.5\n'
        '[[training.steps]]\nkind = "distill"\nstudent = "small.keras"\n'
    )
    training = build_recipe(read_recipe(recipe), {}).training
    assert training is not None
    assert training.data == tmp_path / "t.npz"
    prune, distill = training.steps
    assert isinstance(prune, Prune)
    assert prune.sparsity == 0.5
    assert isinstance(distill, Distill)
    assert distill.student == tmp_path / "small.keras"


def test_code_that_gives_a_training_set_is_no_path_beside_the_recipe(tmp_path: Path) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text('[training]\ndata = "python:birds:samples"\n[[training.steps]]\nkind = "finetune"\n')
    training = build_recipe(read_recipe(recipe), {}).training
    assert training is not None
    assert str(training.data) == "python:birds:samples"


def test_what_a_step_does_not_know_is_named(tmp_path: Path) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text('[[training.steps]]\nkind = "prune"\nsparsty = 0.5\n')
    with pytest.raises(RecipeError, match="sparsty"):
        build_recipe(read_recipe(recipe), {})


@pytest.mark.parametrize("suffix", [".keras", ".h5", ".pt2"])
def test_an_empty_source_is_named_before_anything_starts(suffix: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", x=X, y=Y)
    (tmp_path / f"m{suffix}").write_bytes(b"")
    with pytest.raises(ModelError, match="is empty; expected a "):
        check_trainable(tmp_path / f"m{suffix}", Training(STEPS, tmp_path / "t.npz"))


def test_a_source_that_is_not_there_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", x=X, y=Y)
    with pytest.raises(ModelError, match="No such file"):
        check_trainable(tmp_path / "m.keras", Training(STEPS, tmp_path / "t.npz"))


@pytest.mark.parametrize(("data", "words"), [(None, "none was given"), (Path("gone"), "gone: no such file or folder")])
def test_a_training_set_that_is_not_there_is_named(data: Path | None, words: str, tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match=words) as caught:
        check_trainable(tmp_path / "m.keras", Training(STEPS, data))
    assert "--train" in str(caught.value.hint)


def test_a_source_that_cannot_be_trained_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="cannot be trained"):
        check_trainable(tmp_path / "m.tflite", Training(STEPS))


def test_what_a_first_pruning_has_set_to_0_stays_0_through_a_second_one(source: Path, tmp_path: Path) -> None:
    first = (STEPS[0], Prune("prune", sparsity=0.3, epochs=2, learning_rate=0.1))
    model, _ = loop(tmp_path / "first", first).run(source, Line)
    gone = np.load(model) == 0
    model, _ = loop(tmp_path / "both", (*first, Prune("prune", sparsity=0.5, epochs=3, learning_rate=10.0))).run(
        source, Line
    )
    assert (np.load(model)[gone] == 0).all()
    assert (np.load(model) == 0).sum() == 24


def test_quantization_aware_training_is_judged_by_its_rounded_weights(source: Path, tmp_path: Path) -> None:
    steps = (STEPS[0], QuantizeAware("qat", weight_bits=2, epochs=1, learning_rate=1e-9))
    model, told = loop(tmp_path / "work", steps).run(source, Line)
    exact, rounded = Line(model), Line(model)
    rounded.weights = fake_quantize(exact.weights, 2, 1)
    held_out = split(Samples(Selected(X), Y), Training(steps))[1]
    found = [float(np.mean(each.predict(held_out.x).argmax(axis=1) == held_out.y)) for each in (exact, rounded)]
    assert found[0] != found[1]
    assert told[1].metric_after == pytest.approx(found[1])


@pytest.mark.parametrize(
    ("name", "words"), [("gone.keras", "no such file"), ("other.pt2", "both are of Keras"), ("net.onnx", "both are of")]
)
def test_a_student_that_cannot_be_one_is_told_before_anything_is_read(name: str, words: str, tmp_path: Path) -> None:
    source, data = tmp_path / "net.keras", tmp_path / "train.npz"
    source.write_bytes(b"PK\x03\x04")
    data.write_bytes(b"")
    if not name.startswith("gone"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(ConversionError, match=words):
        check_trainable(source, Training((Distill("distill", student=tmp_path / name),), data))
