"""Training steps over real frameworks: small networks on handwritten digits, from the file to the file."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converter.convert import convert
from converter.errors import CalibrationError, ConversionError, QualityGateError
from converter.job import Order
from converter.report.sections import CompressionStep
from converter.training.run import Trained, train, work_directory
from converter.training.steps import Cluster, Distill, Finetune, Prune, PruneChannels, QuantizeAware, Step, Training
from converter.training.taken import Taken
from edge_agent.errors import ModelError
from edge_agent.release.inputs import ImageInput
from edge_agent.transform.tensor import TensorSpec

# Warnings of the frameworks are not ours.
pytestmark = [pytest.mark.frontends, pytest.mark.timeout(600), pytest.mark.filterwarnings("ignore")]

STEPS: tuple[Step, ...] = (
    Prune("prune", sparsity=0.6, epochs=2),
    PruneChannels("prune_channels", share=0.5, epochs=2),
    QuantizeAware("qat", weight_bits=4, epochs=1),
    Cluster("cluster", clusters=16, epochs=1),
)


GRAY = ImageInput(color="gray", mean=(0.0,), std=(255.0,))
TAKEN = Taken("classification", GRAY, TensorSpec("x", (1, 8, 8, 1), np.dtype(np.float32)), "x", values=10)


def digits() -> tuple[Any, Any]:
    """[samples, 8, 8, 1] from 0 to 1, and which digit it is."""
    from sklearn.datasets import load_digits

    pictures, labels = load_digits(return_X_y=True)
    return (pictures / 16).astype(np.float32).reshape(-1, 8, 8, 1)[:800], labels[:800]


def keras_model(folder: Path) -> tuple[Path, Path]:
    import keras

    layers = keras.layers
    keras.utils.set_random_seed(1)
    picture = keras.Input((8, 8, 1))
    first = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(32, 3, padding="same")(picture)))
    second = layers.Conv2D(32, 1)(layers.BatchNormalization()(layers.DepthwiseConv2D(3, padding="same")(first)))
    joined = layers.ReLU()(layers.Add()([first, second]))
    halves = [layers.Conv2D(16, 3, strides=2)(joined) for _ in range(2)]
    flat = layers.Flatten()(layers.ReLU()(layers.Concatenate()(halves)))
    model = keras.Model(picture, layers.Dense(10, "softmax")(layers.Dense(64, "relu")(flat)))
    x, y = digits()
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(x, y, epochs=4, verbose=0)
    model.save(folder / "model.keras")
    np.savez(folder / "train.npz", x=x, y=y)
    return folder / "model.keras", folder / "train.npz"


def torch_model(folder: Path) -> tuple[Path, Path]:
    import torch

    from tests.frontends.digits_net import DigitsNet

    torch.manual_seed(1)
    model = DigitsNet()
    x, y = digits()
    x = x.transpose(0, 3, 1, 2).copy()
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    for _ in range(6):
        for start in range(0, len(x), 32):
            optimizer.zero_grad()
            found = model(torch.from_numpy(x[start : start + 32]))
            torch.nn.functional.cross_entropy(found, torch.from_numpy(y[start : start + 32])).backward()
            optimizer.step()
    program = torch.export.export(model.eval(), (torch.zeros(1, 1, 8, 8),))
    torch.export.save(program, folder / "model.pt2")
    np.savez(folder / "train.npz", x=x, y=y)
    return folder / "model.pt2", folder / "train.npz"


def keras_kernels(path: Path) -> list[Any]:
    import keras

    model = keras.models.load_model(path)
    return [np.array(layer.kernel) for layer in model.layers if hasattr(layer, "kernel")]


def torch_kernels(path: Path) -> list[Any]:
    import torch

    state = torch.export.load(path).state_dict
    return [value.detach().numpy() for value in state.values() if value.ndim > 1]


@pytest.fixture(
    scope="module", params=[(keras_model, keras_kernels), (torch_model, torch_kernels)], ids=["keras", "torch"]
)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Any]:
    make, kernels = request.param
    return *make(tmp_path_factory.mktemp("model")), kernels


def run(world: tuple[Path, Path, Any], folder: Path, steps: tuple[Step, ...]) -> tuple[Trained, list[str]]:
    source, data, _ = world
    said: list[str] = []
    folder.mkdir(exist_ok=True)
    return train(source, Training(steps, data), TAKEN, folder / "work", folder=folder, say=said.append), said


def sizes(kernels: list[Any]) -> int:
    return sum(kernel.size for kernel in kernels)


def test_steps_are_combined_and_each_keeps_its_promise(world: tuple[Path, Path, Any], tmp_path: Path) -> None:
    source, _, kernels = world
    before = source.read_bytes()
    trained, said = run(world, tmp_path / "run", STEPS)
    after = kernels(trained.path)
    assert [step.name for step in trained.steps] == ["prune", "prune_channels", "qat", "cluster"]
    assert trained.steps[-1].metric_after > 0.85
    assert sizes(after) < 0.5 * sizes(kernels(source))
    assert all(len(np.unique(kernel)) <= 16 for kernel in after)
    assert any("channels are taken out" in line for line in said)
    assert any(line.startswith("cluster 1/1: accuracy") for line in said)
    assert source.read_bytes() == before


def test_magnitude_pruning_makes_as_many_zeros_as_asked(world: tuple[Path, Path, Any], tmp_path: Path) -> None:
    trained, _ = run(world, tmp_path / "run", (STEPS[0], Finetune("finetune", epochs=1)))
    full = [kernel for kernel in world[2](trained.path) if min(kernel.shape[-2:]) >= 1 and kernel.size > 500]
    assert all((kernel == 0).mean() >= 0.59 for kernel in full)


def test_a_student_of_half_the_width_learns_from_its_teacher(world: tuple[Path, Path, Any], tmp_path: Path) -> None:
    trained, _ = run(world, tmp_path / "run", (Distill("distill", share=0.5, epochs=4),))
    (told,) = trained.steps
    assert isinstance(told, CompressionStep)
    assert told.metric_after > 0.85
    assert sizes(world[2](trained.path)) < 0.5 * sizes(world[2](world[0]))


def test_a_run_that_is_killed_goes_on(world: tuple[Path, Path, Any], tmp_path: Path) -> None:
    source, data, _ = world
    script = (
        "import sys; from pathlib import Path; from converter.training.run import train\n"
        "from converter.training.steps import *\n"
        "steps = (PruneChannels('prune_channels', share=0.5, epochs=6), Finetune('finetune', epochs=1))\n"
        "folder = Path(sys.argv[3])\n"
        "from tests.frontends.test_training import TAKEN\n"
        "train(Path(sys.argv[1]), Training(steps, Path(sys.argv[2])), TAKEN, folder / 'work', folder=folder, "
        "say=lambda line: print(line, flush=True))\n"
    )
    folder = tmp_path / "run"
    folder.mkdir()
    command = [sys.executable, "-c", script, str(source), str(data), str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("prune_channels 2/6"):
                os.killpg(process.pid, signal.SIGKILL)
                break
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = again.stdout.splitlines()
    assert lines[0].startswith("going on after 0 steps and ")
    assert not any(line.startswith("prune_channels 1/6") for line in lines)
    assert any(line.startswith("finetune 1/1") for line in lines)


# --- with what is converted -----------------------------------------------------------------------------------------


def pictures(folder: Path, count: int = 300) -> Path:
    """The digits as files, in a subfolder for each."""
    from PIL import Image

    for number, (picture, digit) in enumerate(zip(*digits(), strict=True)):
        if number < count:
            (folder / str(digit)).mkdir(parents=True, exist_ok=True)
            Image.fromarray((picture[..., 0] * 255).astype(np.uint8)).save(folder / str(digit) / f"{number}.png")
    return folder


def conversion(world: tuple[Path, Path, Any], folder: Path, data: Path, **changes: Any) -> tuple[Order, list[str]]:
    recipe = folder / "small.toml"
    recipe.write_text(
        "scheme = 'int8'\ntask = 'classification'\n[input]\nkind = 'image'\ncolor = 'gray'\nmean = [0]\nstd = [255]\n"
        f"[training]\ndata = '{data}'\n[[training.steps]]\nkind = 'prune_channels'\nshare = 0.5\nepochs = 2\n"
    )
    said: list[str] = []
    order = Order(world[0], folder / "digits-1.edge", recipe=recipe, tell=said.append, **{"calibrate": data, **changes})
    return order, said


def test_a_folder_of_pictures_trains_what_is_converted(world: tuple[Path, Path, Any], tmp_path: Path) -> None:
    """Its labels are the subfolders' names; where the source has its channels first, the pictures have too."""
    data = pictures(tmp_path / "data")
    order, said = conversion(world, tmp_path, data, evaluate=data)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("irreplaceable", encoding="utf-8")
    order = replace(order, work=mine)
    done = convert(order)
    assert [path.name for path in mine.iterdir()] == ["thesis.txt"]
    assert (mine / "thesis.txt").read_text(encoding="utf-8") == "irreplaceable"
    (step,) = done.sections.compression
    assert step.metric_name == "accuracy"
    assert step.metric_before > 0.6  # the order of its axes is the model's
    assert step.metric_after > 0.6
    assert done.evaluation is not None
    assert done.evaluation.samples == 300
    assert done.evaluation.value is not None
    assert done.evaluation.value > 0.6
    assert not work_directory(order.output).exists()
    assert any(line.startswith("prune_channels 2/2") for line in said)


def _no_pictures(folder: Path) -> None:
    (folder / "readme.txt").write_text("the pictures are elsewhere")


def _another_shape(folder: Path) -> None:
    np.savez(folder / "d.npz", x=np.ones((9, 5, 5, 1)))


def _no_labels(folder: Path) -> None:
    np.savez(folder / "d.npz", x=digits()[0])


@pytest.mark.parametrize(
    ("option", "spoil", "words"),
    [
        ("calibrate", _no_pictures, "are not pictures that can be read: readme.txt"),
        ("calibrate", _another_shape, r"\[9, 5, 5, 1\]; the model takes \[samples, 8, 8, 1\]"),
        ("evaluate", _another_shape, r"\[9, 5, 5, 1\]; the model takes \[samples, 8, 8, 1\]"),
        ("evaluate", _no_labels, "none of the 800 samples has a label"),
    ],
)
def test_data_for_what_comes_after_training_is_looked_at_before(
    world: tuple[Path, Path, Any], tmp_path: Path, option: str, spoil: Callable[[Path], None], words: str
) -> None:
    bad = tmp_path / "bad"
    bad.mkdir()
    spoil(bad)
    given = next(iter(bad.glob("*.npz")), bad)
    order, said = conversion(world, tmp_path, pictures(tmp_path / "data", 60), **{option: given})
    with pytest.raises(CalibrationError, match=words):
        convert(order)
    assert not any("prune_channels" in line for line in said)
    assert not work_directory(order.output).exists()
    assert not order.output.exists()


def test_what_training_loses_is_seen_by_the_gate(world: tuple[Path, Path, Any], tmp_path: Path) -> None:
    data = pictures(tmp_path / "data")
    order, _ = conversion(world, tmp_path, data, evaluate=data)
    assert order.recipe is not None
    recipe = order.recipe.read_text().replace("kind = 'prune_channels'\nshare = 0.5\nepochs = 2", "")
    order.recipe.write_text(
        recipe.replace("scheme = 'int8'", "scheme = 'float32'")
        + "kind = 'prune'\nsparsity = 0.99\nepochs = 1\n[limits]\nmax_drop = 0.01\n"
    )
    with pytest.raises(QualityGateError, match="accuracy") as caught:
        convert(order)
    values = caught.value.figures["evaluation"]["values"]
    assert list(values) == ["source", "float32"]
    assert values["source"] > values["float32"] + 0.1
    assert not order.output.exists()


@pytest.mark.parametrize("suffix", [".keras", ".pt2"])
def test_a_file_that_cannot_be_loaded_is_one_error(suffix: str, tmp_path: Path) -> None:
    broken = tmp_path / f"model{suffix}"
    broken.write_bytes(b"PK\x03\x04 cut off")
    np.savez(tmp_path / "train.npz", x=np.zeros((20, 2), np.float32), y=np.zeros(20, np.int64))
    (tmp_path / "run").mkdir()
    with pytest.raises((ConversionError, ModelError)) as caught:
        train(
            broken,
            Training((Finetune("finetune"),), tmp_path / "train.npz"),
            TAKEN,
            tmp_path / "w",
            folder=tmp_path / "run",
            say=print,
        )
    assert caught.value.hint


# --- of Keras ---------------------------------------------------------------------------------------------------------


def _net(folder: Path, name: str, last: str | None, *, dropout: bool = False) -> Path:
    import keras

    keras.utils.set_random_seed(2)
    layers: list[Any] = [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(32, "relu")]
    layers += [keras.layers.Dropout(0.5)] * dropout
    keras.Sequential([*layers, keras.layers.Dense(10, last)]).save(folder / name)
    return folder / name


def _distilled(source: Path, data: Path, student: Path, folder: Path) -> tuple[Trained, list[str]]:
    folder.mkdir(exist_ok=True)
    said: list[str] = []
    training = Training((Distill("distill", student=student, epochs=6, learning_rate=3e-3),), data)
    return train(source, training, TAKEN, folder / "work", folder=folder, say=said.append), said


@pytest.fixture(scope="module")
def keras_world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return keras_model(tmp_path_factory.mktemp("keras"))


def test_a_student_that_ends_in_logits_learns_from_one_that_ends_in_shares(
    keras_world: tuple[Path, Path], tmp_path: Path
) -> None:
    trained, _ = _distilled(*keras_world, _net(tmp_path, "student.keras", None), tmp_path / "run")
    assert trained.steps[0].metric_after > 0.8


def test_another_student_under_the_same_name_begins_anew(keras_world: tuple[Path, Path], tmp_path: Path) -> None:
    student = _net(tmp_path, "student.keras", "softmax")
    _distilled(*keras_world, student, tmp_path / "run")
    assert any("going on" in line for line in _distilled(*keras_world, student, tmp_path / "run")[1])
    _net(tmp_path, "student.keras", None)
    assert not any("going on" in line for line in _distilled(*keras_world, student, tmp_path / "run")[1])


def test_a_student_for_other_classes_is_told(keras_world: tuple[Path, Path], tmp_path: Path) -> None:
    import keras

    student = tmp_path / "student.keras"
    keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(12)]).save(student)
    with pytest.raises(ConversionError, match=r"the student gives \[12\] a sample, its teacher \[10\]"):
        _distilled(*keras_world, student, tmp_path / "run")


def test_dropout_gives_the_same_model_each_time(keras_world: tuple[Path, Path], tmp_path: Path) -> None:
    source, made = _net(tmp_path, "dropout.keras", "softmax", dropout=True), []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        training = Training((Finetune("finetune", epochs=2),), keras_world[1])
        found = train(source, training, TAKEN, tmp_path / name / "w", folder=tmp_path / name, say=lambda _: None)
        made.append(keras_kernels(found.path))
    assert all(np.array_equal(a, b) for a, b in zip(*made, strict=True))
    assert not np.array_equal(made[0][0], keras_kernels(source)[0])


# --- of PyTorch -------------------------------------------------------------------------------------------------------


def _exported(net: Any, path: Path) -> Path:
    import torch

    torch.export.save(torch.export.export(net.eval(), (torch.zeros(1, 1, 8, 8),)), path)
    return path


def test_frozen_parameters_stay_and_the_others_are_trained(tmp_path: Path) -> None:
    import torch

    source, data = torch_model(tmp_path)
    from tests.frontends.digits_net import DigitsNet

    net = DigitsNet()
    for parameter in net.first.parameters():
        parameter.requires_grad = False
    _exported(net, source)
    trained = train(
        source,
        Training((Finetune("finetune", epochs=2), Finetune("finetune", epochs=1)), data),
        TAKEN,
        tmp_path / "work",
        folder=tmp_path,
        say=lambda _: None,
    )
    before, after = (torch.export.load(path).state_dict for path in (source, trained.path))
    assert torch.equal(before["first.weight"], after["first.weight"])
    assert not torch.equal(before["last.weight"], after["last.weight"])


@pytest.mark.parametrize("way", ["view", "reshape", "twice"])
def test_channels_are_pruned_through_other_ways_of_writing_it(way: str, tmp_path: Path) -> None:
    import torch

    _, data = torch_model(tmp_path)

    class Net(torch.nn.Module):  # type: ignore[misc]  # torch is only there where it is tested
        def __init__(self) -> None:
            super().__init__()
            self.one = torch.nn.Conv2d(1, 16, 3)
            self.two = torch.nn.Conv2d(32 if way == "twice" else 16, 16, 3)
            self.last = torch.nn.Linear(256, 10)

        def forward(self, x: Any) -> Any:
            x = torch.relu(self.one(x))
            x = torch.relu(self.two(torch.cat([x, x], 1) if way == "twice" else x))
            return self.last(x.reshape(len(x), -1) if way == "reshape" else x.view(x.size(0), -1))

    torch.manual_seed(3)
    source = _exported(Net(), tmp_path / "net.pt2")
    trained = train(
        source,
        Training((PruneChannels("prune_channels", share=0.5, epochs=4, learning_rate=3e-3),), data),
        TAKEN,
        tmp_path / "work",
        folder=tmp_path,
        say=lambda _: None,
    )
    assert sizes(torch_kernels(trained.path)) < 0.6 * sizes(torch_kernels(source))
    assert trained.steps[0].metric_after > 0.8
