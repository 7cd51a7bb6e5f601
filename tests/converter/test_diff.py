"""`diff`: what is told to be different really is, and what is told to travel would."""

import json
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated
from click.testing import CliRunner
from flatbuffers import Builder

from converter.commands.diff import diff
from converter.convert import convert
from converter.diff import diff_files, format_diff
from converter.publish import patches
from edge_agent.errors import EdgeError
from edge_agent.release.archive import read_artifact
from edge_agent.release.chunks import cut, pack
from edge_agent.release.manifest import MODEL_FILE
from tests.converter.conftest import EXAMPLES, Digits, order

V1, V2 = EXAMPLES / "digits_v1.tflite", EXAMPLES / "digits_v2.tflite"


def test_the_weights_that_were_trained_again_are_named_with_how_much_they_moved() -> None:
    """The second version of the digits' model has another last layer, and nothing else."""
    tree = diff_files(V1, V2)
    assert not tree["same"]
    assert {each["operator"] for each in tree["weights"]} == {"FULLY_CONNECTED"}
    matrix = next(each for each in tree["weights"] if each["shape"] == [10, 160])
    a, b = (_matrix(path) for path in (V1, V2))
    assert matrix["relative_change"] == pytest.approx(np.linalg.norm(b - a) / np.linalg.norm(a), rel=1e-3)
    assert matrix["changed"] == pytest.approx(np.mean(a != b), abs=1e-3)
    assert len(tree["weights"]) == 2
    assert (tree["operators"], tree["tensors"]["changed"], tree["manifest"]) == ({}, [], [])
    text = format_diff(tree)
    assert "weights, 2 tensors changed" in text
    assert "10x160" in text


def _matrix(path: Path) -> "np.ndarray[tuple[int, ...], np.dtype[np.float32]]":
    tree = schema_py_generated.ModelT.InitFromObj(schema_py_generated.Model.GetRootAs(path.read_bytes(), 0))
    tensor = next(tensor for tensor in tree.subgraphs[0].tensors if list(tensor.shape) == [10, 160])
    return np.frombuffer(bytes(tree.buffers[tensor.buffer].data), "<f4").reshape(10, 160)


def test_quantized_weights_are_compared_as_real_values(int8: Path, digits: Digits, tmp_path: Path) -> None:
    """Other scales alone are no other weights: what counts is what they stand for."""
    output = tmp_path / "digits-0.edge"
    convert(order(output, source=V1, options={"scheme": "int8"}, calibrate=digits.calibration))
    tree = diff_files(output, int8)
    moved = {tuple(each["shape"]): each["relative_change"] for each in tree["weights"]}
    assert moved[10, 160] > 0.1
    assert moved.get((160, 2048), 0.0) < 0.01
    assert any(each["what"] == "scales" for each in tree["tensors"]["changed"])


def test_what_would_travel_is_what_the_chunks_say(int8: Path, digits: Digits, tmp_path: Path) -> None:
    output = tmp_path / "digits-0.edge"
    convert(order(output, source=V1, options={"scheme": "int8"}, calibrate=digits.calibration))
    download = diff_files(output, int8)["download"]
    held = {chunk for content in read_artifact(output).members.values() for chunk in cut(content)}
    wanted = {chunk for content in read_artifact(int8).members.values() for chunk in cut(content)}
    missing = [chunk for chunk in wanted if chunk not in held]
    assert (download["chunks"], download["missing_chunks"]) == (len(wanted), len(missing))
    assert download["bytes"] == sum(len(pack(chunk)) for chunk in missing)
    assert MODEL_FILE in [patch["member"] for patch in download["patches"]]
    saved = sum(patch["instead_of"] - patch["bytes"] for patch in download["patches"])
    assert saved > 0
    assert download["bytes_with_patches"] == download["bytes"] - saved
    assert diff_files(output, int8, patches=False)["download"]["bytes_with_patches"] is None


def test_what_was_said_otherwise_is_told_by_its_field(tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("".join(f"{name}\n" for name in ("zero", "uno", *range(2, 10))))
    for version, options in (("1", {}), ("2", {"labels": str(labels), "output": {"score_threshold": 0.25}})):
        output = tmp_path / f"digits-{version}.edge"
        convert(order(output, options={**options, "metadata": False}, recipe=EXAMPLES / "digits.toml"))
    tree = diff_files(tmp_path / "digits-1.edge", tmp_path / "digits-2.edge")
    fields = {field["field"]: (field["before"], field["after"]) for field in tree["manifest"]}
    assert fields["version"] == ("1", "2")
    assert fields["output.score_threshold"] == (0.0, 0.25)
    assert not any(field.startswith("files") for field in fields)
    assert tree["labels"]["changed"] == [
        {"index": 0, "before": "0", "after": "zero"}, {"index": 1, "before": "1", "after": "uno"}
    ]  # fmt: skip
    assert tree["weights"] == []
    text = format_diff(tree)
    for line in ("  version: 1 -> 2", "  output.score_threshold: 0.0 -> 0.25", "  1: 1 -> uno", "weights: the same"):
        assert line in text.splitlines()


def test_a_model_with_other_operators_says_which(int8: Path, tmp_path: Path) -> None:
    tree = diff_files(V2, EXAMPLES / "linescan_v1.tflite", patches=False)
    assert tree["operators"]["MAX_POOL_2D"][0] == 2
    assert tree["tensors"]["removed"]
    assert tree["tensors"]["added"]
    mixed = diff_files(V2, int8, patches=False)  # a model and an artifact
    assert {field["before"] for field in mixed["manifest"]} == {None}
    assert any(each["what"] == "type" and each["after"] == "INT8" for each in mixed["tensors"]["changed"])


def test_tensors_with_other_names_are_told_by_their_operators(tmp_path: Path) -> None:
    tree = schema_py_generated.ModelT.InitFromObj(schema_py_generated.Model.GetRootAs(V2.read_bytes(), 0))
    for number, tensor in enumerate(tree.subgraphs[0].tensors):
        tensor.name = f"renamed {number}".encode()
    builder = Builder(1024)
    builder.Finish(tree.Pack(builder), file_identifier=b"TFL3")
    (tmp_path / "renamed.tflite").write_bytes(bytes(builder.Output()))
    found = diff_files(V2, tmp_path / "renamed.tflite", patches=False)
    assert found["weights"] == []
    assert found["tensors"]["renamed"] == len(tree.subgraphs[0].tensors)
    assert (found["tensors"]["added"], found["tensors"]["removed"]) == ([], [])


def test_nothing_is_different_from_itself(int8: Path) -> None:
    tree = diff_files(int8, int8)
    assert tree["same"]
    assert tree["download"]["missing_chunks"] == 0
    assert format_diff(tree).endswith("nothing is different")


def test_without_bsdiff_the_rest_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(base: bytes, content: bytes) -> bytes:
        raise patches.PatchesUnavailableError("patches cannot be made", hint="install it")

    monkeypatch.setattr(patches, "_diff", none)
    tree = diff_files(V1, V2)
    assert tree["download"]["notes"] == ["patches cannot be made; install it"]
    assert tree["weights"]


def test_what_is_no_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "page.tflite").write_text("<html></html>")
    for pair in ((V1, tmp_path / "page.tflite"), (tmp_path / "missing.edge", V1)):
        with pytest.raises(EdgeError) as caught:
            diff_files(*pair)
        assert caught.value.hint


def test_the_command_prints_text_or_json() -> None:
    text = CliRunner().invoke(diff, [str(V1), str(V2)])
    assert "a device that has the first fetches" in text.stdout
    tree = json.loads(CliRunner().invoke(diff, [str(V1), str(V2), "--json", "--no-patches"]).stdout)
    assert tree["download"]["patches"] == []
    assert len(tree["weights"]) == 2
