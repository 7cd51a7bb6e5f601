"""Exported programs and TorchScript, converted and held to PyTorch's own answers."""

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from converter.errors import ConversionError
from converter.frontends.contract import TFLITE_NAME, Wanted
from converter.frontends.torch import convert_pt2, convert_torchscript
from tests.frontends.conversions import Convert, convert

Make = Callable[[str], Path]

BUILD = """
import torch
from torch import nn
torch.manual_seed(0)
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, 2, 1)
        self.norm = nn.BatchNorm2d(8)
        self.drop = nn.Dropout(0.5)
        self.last = nn.Linear(8, 4)
    def forward(self, image):
        found = torch.relu(self.norm(self.first(nn.functional.pad(image, (0, 1, 0, 1)))))
        return {"map": found, "logits": self.last(self.drop(found.mean((2, 3))))}
def save(model, example, path="model.pt2", **more):
    torch.export.save(torch.export.export(model, example, **more), path)
picture = torch.rand(2, 3, 16, 18)
"""


def from_file(script: str) -> str:
    """The script as a module of its own: TorchScript reads the source of what it compiles."""
    return f"open('made.py', 'w').write({script!r}); import sys; sys.path.insert(0, '.'); import made"


def refused(function: Convert, path: Path, folder: Path, wanted: Wanted | None = None) -> str:
    with pytest.raises(ConversionError) as caught:
        function(path, folder, wanted or Wanted())
    assert caught.value.hint
    assert "\n" not in str(caught.value)
    assert not (folder / TFLITE_NAME).exists()
    return str(caught.value)


@pytest.mark.cold
def test_an_exported_program_comes_out_channels_last_with_its_names_and_a_batch_of_one(make_model: Make) -> None:
    folder = make_model(BUILD + "save(Net().eval(), (picture,), dynamic_shapes=({0: torch.export.Dim('batch')},))")
    ran = convert(convert_pt2, folder / "model.pt2", folder / "out")
    assert ran.error < 1e-5
    assert ran.spread > 1e-4
    assert ran.shapes == {"image": (1, 16, 18, 3), "map": (1, 9, 10, 8), "logits": (1, 4)}
    assert "TRANSPOSE" not in ran.operators


def test_a_traced_module_is_told_its_sizes(make_model: Make) -> None:
    script = """
class Plain(Net):
    def forward(self, image):
        return super().forward(image)["logits"]
torch.jit.trace(Plain().eval(), picture[:1]).save("model.pt")
"""
    folder = make_model(from_file(BUILD + script))
    out = folder / "out"
    out.mkdir()
    assert "TorchScript does not tell the sizes of its inputs: image (Tensor)" in refused(
        convert_torchscript, folder / "model.pt", out
    )
    ran = convert(convert_torchscript, folder / "model.pt", out, Wanted(input_shapes={"": (1, 3, 16, 18)}))
    assert ran.error < 1e-5
    assert ran.shapes == {"image": (1, 16, 18, 3), "output": (1, 4)}


def test_state_in_attributes_of_a_script_becomes_inputs_and_outputs(make_model: Make) -> None:
    script = """
class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self._sum = torch.zeros(0)
        self.weight = nn.Parameter(torch.rand(3))
    def forward(self, x: torch.Tensor, times: int):
        if self._sum.numel() == 0:
            self._sum = torch.zeros_like(x)
        for _ in range(times):
            self._sum = self._sum * 0.5 + x * self.weight
        return self._sum.sum(1)
torch.jit.script(Counting().eval()).save("model.pt")
"""
    folder = make_model(from_file(BUILD + script))
    wanted = Wanted(input_shapes={"x": (1, 3), "times": (2,)})
    ran = convert(convert_torchscript, folder / "model.pt", folder / "out", wanted)
    assert ran.error < 1e-5
    assert ran.shapes == {"x": (1, 3), "state_sum": (1, 3), "output": (1,), "state_sum_out": (1, 3)}


def test_what_cannot_be_converted_is_said_plainly(make_model: Make) -> None:
    script = """
save(Net(), (picture,), "training.pt2")
save(Net().half().eval(), (picture.half(),), "half.pt2")
broken = Net().eval()
with torch.no_grad():
    broken.last.weight[0, 0] = float("nan")
save(broken, (picture,), "nan.pt2")
class Digamma(nn.Module):
    def forward(self, x):
        return torch.digamma(x + 1)
save(Digamma(), (torch.rand(1, 4),), "digamma.pt2")
class Best(nn.Module):
    def forward(self, x):
        return torch.topk(x, 2).values
save(Best(), (torch.rand(1, 4),), "topk.pt2")
class Double(nn.Module):
    def forward(self, x):
        return x + 1
save(Double(), (torch.rand(1, 4, dtype=torch.float64),), "double.pt2")
class Deciding(nn.Module):
    def forward(self, x):
        if bool(x.sum() > 0):
            return x + 1
        return x - 1
torch.jit.script(Deciding()).save("deciding.pt")
torch.save(Net().state_dict(), "weights.pt")
"""
    folder = make_model(from_file(BUILD + script))
    out = folder / "out"
    out.mkdir()
    assert "exported while training" in refused(convert_pt2, folder / "training.pt2", out)
    assert "weights are float16" in refused(convert_pt2, folder / "half.pt2", out)
    assert "1 weights hold NaN or Inf (last.weight)" in refused(convert_pt2, folder / "nan.pt2", out)
    assert "cannot convert aten.digamma" in refused(convert_pt2, folder / "digamma.pt2", out)
    assert "input x is float64" in refused(convert_pt2, folder / "double.pt2", out)
    assert "written by torch.save" in refused(convert_pt2, folder / "weights.pt", out)
    deciding = Wanted(input_shapes={"x": (1, 4)})
    assert "depends on the values of its input" in refused(convert_torchscript, folder / "deciding.pt", out, deciding)
    with pytest.raises(ConversionError, match="STABLEHLO_SORT"):
        convert_pt2(folder / "topk.pt2", out, Wanted())


def test_pickled_weights_need_leave_to_run_code(make_model: Make) -> None:
    folder = make_model(BUILD + "save(Net().eval(), (picture,))")
    _mark_as_pickled(folder / "model.pt2", folder / "pickled.pt2")
    assert "pickles, which are Python code" in refused(convert_pt2, folder / "pickled.pt2", folder)


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.path,))


def test_example_inputs_that_are_python_are_not_run(make_model: Make) -> None:
    folder = make_model(BUILD + "save(Net().eval(), (picture,))")
    trap = pickle.dumps(Trap(folder / "trapped"))
    with zipfile.ZipFile(folder / "model.pt2") as read, zipfile.ZipFile(folder / "trap.pt2", "w") as written:
        for name in read.namelist():
            written.writestr(name, trap if "sample_inputs" in name else read.read(name))
    assert "cannot load it" in refused(convert_pt2, folder / "trap.pt2", folder)
    assert not (folder / "trapped").exists()


def _mark_as_pickled(source: Path, target: Path) -> None:
    with zipfile.ZipFile(source) as read, zipfile.ZipFile(target, "w") as written:
        for name in read.namelist():
            written.writestr(name, read.read(name).replace(b'"use_pickle": false', b'"use_pickle": true'))


@pytest.mark.shared_data
def test_silero_converts_with_the_state_it_keeps(shared_data: Path, tmp_path: Path) -> None:
    wanted = Wanted(input_shapes={"x": (1, 512), "sr": (16000,)})
    ran = convert(convert_torchscript, shared_data / "source_models/silero_vad.jit", tmp_path / "out", wanted)
    assert ran.error < 1e-4
    assert ran.shapes == {
        "x": (1, 512), "state": (2, 1, 128), "state_context": (1, 64),
        "output": (1, 1), "state_out": (2, 1, 128), "state_context_out": (1, 64),
    }  # fmt: skip
