"""What is told of PyTorch's archives and of pickles without running anything that stands in them."""

import pickle
import zipfile
from pathlib import Path

import pytest
from sklearn.linear_model import LogisticRegression

from converter.errors import ConversionError
from converter.frontends.contract import Wanted
from converter.frontends.sklearn import convert_sklearn, pickled_class
from converter.frontends.torch import convert_pt2, convert_torchscript, kind_of


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.path,))


def archive(path: Path, *members: str) -> Path:
    with zipfile.ZipFile(path, "w") as written:
        for name in members:
            written.writestr(f"model/{name}", "")
    return path


def test_a_pickle_is_not_read_unless_code_may_run(tmp_path: Path) -> None:
    trapped, path = tmp_path / "trapped", tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(Trap(trapped)))
    with pytest.raises(ConversionError, match="reading it runs Python code") as caught:
        convert_sklearn(path, tmp_path, Wanted())
    assert "--allow-code" in str(caught.value.hint)
    assert not trapped.exists()


def test_a_pickle_tells_its_class_without_being_read(tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        path.write_bytes(pickle.dumps(LogisticRegression(), protocol))
        told = pickled_class(path)
        assert told is not None
        assert told.endswith(("LogisticRegression", "_reconstructor"))
    path.write_bytes(b"\x80\x04\x95\xff")
    with pytest.raises(ConversionError, match="no whole pickle"):
        pickled_class(path)


def test_archives_of_pytorch_are_told_apart_by_their_members() -> None:
    assert kind_of(["models/model.json", "data/weights/weight_0"]) == "pt2"
    assert kind_of(["code/__torch__.py", "constants.pkl", "data.pkl"]) == "torchscript"
    assert kind_of(["data.pkl", "data/0"]) == "pickle"
    assert kind_of(["something"]) == "unknown"


def test_weights_given_as_a_model_and_cut_off_files_are_named(tmp_path: Path) -> None:
    weights = archive(tmp_path / "weights.pt", "data.pkl", "data/0", "version")
    for function in (convert_pt2, convert_torchscript):
        with pytest.raises(ConversionError, match="without the program") as caught:
            function(weights, tmp_path, Wanted())
        assert "torch.export.save" in str(caught.value.hint)
        cut = tmp_path / "cut.pt2"
        cut.write_bytes(weights.read_bytes()[:100])
        with pytest.raises(ConversionError, match="not a whole PyTorch file"):
            function(cut, tmp_path, Wanted())
    script = archive(tmp_path / "model.pt", "code/__torch__.py", "constants.pkl", "data.pkl")
    with pytest.raises(ConversionError, match="is TorchScript, not an exported program"):
        convert_pt2(script, tmp_path, Wanted())
