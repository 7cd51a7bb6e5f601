"""Conversions from end to end: real models, real data, the artifact opened as the device opens it."""

import errno
import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated
from flatbuffers import Builder

from converter.convert import convert
from converter.errors import CalibrationError, ConversionError, QualityGateError, RecipeError
from converter.frontends.tflite import normalize
from converter.package import NO_DATE, created
from converter.quantization.quantize import quantize
from converter.recipe import build_recipe
from converter.tflite_schema import read_graph
from edge_agent.errors import ModelError, Reason, StorageError
from edge_agent.inference.model_file import inspect_model
from edge_agent.release.archive import read_artifact
from edge_agent.release.golden import parse_golden
from edge_agent.release.inputs import AudioInput, SignalInput
from edge_agent.release.manifest import GOLDEN_FILE, LABELS_FILE, MODEL_FILE, REPORT_FILE
from edge_agent.transform.wav import read_wav
from tests.converter.conftest import EXAMPLES, Digits, order, picture_accuracy, row_accuracy, unpack

FLOAT_ACCURACY = 0.9698  # examples/digits/README.md


@pytest.mark.parametrize(
    ("scheme", "largest_share"), [("float32", 1.01), ("float16", 0.51), ("dynamic", 0.27), ("int8", 0.27)]
)
def test_every_scheme_keeps_the_accuracy_on_held_out_digits(
    scheme: str, largest_share: float, digits: Digits, tmp_path: Path
) -> None:
    output = tmp_path / "digits-2.0.0.edge"
    done = convert(order(output, options={"scheme": scheme}, calibrate=digits.calibration))

    assert picture_accuracy(output, digits, tmp_path / "release") >= FLOAT_ACCURACY - 0.015
    comparison = done.fidelity.comparison
    assert comparison.representative
    assert comparison.samples == 120
    assert comparison.float_model is not None
    assert comparison.converted.size_bytes <= largest_share * comparison.float_model.size_bytes
    assert comparison.converted.partitions == 1
    assert comparison.top1_agreement is not None
    assert comparison.top1_agreement >= 0.98
    if scheme != "float32":
        with pytest.raises(ConversionError, match="quantized already"):
            normalize(read_artifact(output).members[MODEL_FILE], "dynamic", "digits.tflite")
    assert done.digest == hashlib.sha256(output.read_bytes()).hexdigest()


@pytest.mark.parametrize("scheme", ["float16", "dynamic", "int8"])
def test_a_model_from_before_tensorflow_2_4_is_quantized_as_a_newer_one(
    scheme: str, digits: Digits, tmp_path: Path
) -> None:
    source = tmp_path / "old.tflite"
    tree = schema_py_generated.ModelT.InitFromObj(
        schema_py_generated.Model.GetRootAs((EXAMPLES / "digits_v2.tflite").read_bytes(), 0)
    )
    for code in tree.operatorCodes:
        code.builtinCode = 0  # the older field alone names the operator
    builder = Builder(1024)
    builder.Finish(tree.Pack(builder), file_identifier=b"TFL3")
    source.write_bytes(bytes(builder.Output()))

    output = tmp_path / "digits-1.edge"
    done = convert(order(output, source=source, options={"scheme": scheme}, calibrate=digits.calibration))
    comparison = done.fidelity.comparison
    assert comparison.float_model is not None
    assert comparison.converted.size_bytes < 0.51 * comparison.float_model.size_bytes
    small = {"CONV_2D": 1} if scheme == "dynamic" else {}  # the first layer
    assert dict(done.fidelity.float_operators) == small
    assert picture_accuracy(output, digits, tmp_path / "release") >= FLOAT_ACCURACY - 0.015


def test_a_scheme_that_changes_nothing_is_an_error(tmp_path: Path) -> None:
    output = tmp_path / "digits-1.edge"
    operators = sorted({item.name for item in read_graph((EXAMPLES / "digits_v2.tflite").read_bytes()).operators})
    options = {"scheme": "dynamic", "float_operators": operators}
    with pytest.raises(ConversionError, match="left the model as it was") as caught:
        convert(order(output, options=options))
    assert "--scheme float32" in str(caught.value.hint)
    assert not output.exists()


@pytest.mark.parametrize("scheme", ["dynamic", "int8"])
def test_a_sensor_model_is_calibrated_on_the_windows_of_a_csv(scheme: str, digits: Digits, tmp_path: Path) -> None:
    output = tmp_path / "linescan-1.edge"
    source, recipe = EXAMPLES / "linescan_v1.tflite", EXAMPLES / "linescan.toml"
    convert(
        order(
            output, source=source, recipe=recipe, options={"scheme": scheme}, calibrate=digits.calibration_rows
        )
    )  # fmt: skip
    manifest = read_artifact(output).manifest
    assert isinstance(manifest.input, SignalInput)
    assert (manifest.input.window, manifest.task) == (8, "signal_classification")
    assert row_accuracy(output, digits, tmp_path / "release") >= 0.9547 - 0.015


def test_the_same_input_gives_the_same_bytes(int8: Path, digits: Digits, tmp_path: Path) -> None:
    again = tmp_path / "digits-1.edge"
    convert(order(again, options={"scheme": "int8"}, calibrate=digits.calibration))
    assert again.read_bytes() == int8.read_bytes()


def test_the_date_is_that_of_source_date_epoch_and_else_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    assert created() == NO_DATE
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1763683200")
    assert created() == "2025-11-21T00:00:00Z"
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    # before anything is looked at, for frameworks read it too
    with pytest.raises(RecipeError, match="SOURCE_DATE_EPOCH must be seconds"):
        convert(order(tmp_path / "digits-9.edge", source=tmp_path / "none.keras"))
    with pytest.raises(RecipeError, match="SOURCE_DATE_EPOCH"):
        created()


def test_golden_vectors_are_answers_of_the_converted_model(int8: Path, tmp_path: Path) -> None:
    artifact = read_artifact(int8)
    golden = parse_golden(artifact.members[GOLDEN_FILE])
    assert len(golden) == 4
    assert golden.inputs[0][0].dtype == np.int8
    assert len({int(np.argmax(outputs[0])) for outputs in golden.outputs}) == 4  # four different digits
    with unpack(int8, tmp_path / "release") as model:
        for inputs, expected in zip(golden.inputs, golden.outputs, strict=True):
            found = model.real_outputs(model.engine.invoke(inputs))
            assert np.array_equal(found[0], expected[0])
    assert 0.05 <= artifact.manifest.limits.golden_tolerance <= 0.25


def test_other_answers_are_beyond_the_golden_tolerance(int8: Path, tmp_path: Path) -> None:
    """It leaves room for other kernels, not for other answers."""
    artifact = read_artifact(int8)
    golden = parse_golden(artifact.members[GOLDEN_FILE])
    with unpack(int8, tmp_path / "release") as model:
        upside_down = [
            model.real_outputs(model.engine.invoke([inputs[0][:, ::-1]])) for inputs in golden.inputs
        ]  # fmt: skip
        assert max(model.disagreements(golden.outputs, upside_down)) > artifact.manifest.limits.golden_tolerance


def test_the_report_says_where_the_model_came_from(int8: Path, digits: Digits) -> None:
    artifact = read_artifact(int8)
    report = json.loads(artifact.members[REPORT_FILE])
    source = (EXAMPLES / "digits_v2.tflite").read_bytes()
    assert report["source"] == {
        "name": "digits_v2.tflite",
        "sha256": hashlib.sha256(source).hexdigest(),
        "size_bytes": len(source),
    }
    assert report["calibration"]["samples"] == 120
    assert report["fidelity"]["top1_agreement"] >= 0.98
    assert report["fidelity"]["outputs"][0]["name"] == "scores"
    assert report["tools"]["ai-edge-quantizer"].startswith("0.10.")
    assert "latency_ms" not in json.dumps(report)
    assert str(digits.calibration.parent) not in json.dumps(report) + json.dumps(dict(artifact.manifest.provenance))
    assert artifact.manifest.provenance["fidelity"] == report["fidelity"]
    assert artifact.members[LABELS_FILE].decode().split() == [str(digit) for digit in range(10)]


def test_every_missed_limit_is_named_and_the_artifact_that_was_there_stays(digits: Digits, tmp_path: Path) -> None:
    output = tmp_path / "digits-1.edge"
    output.write_bytes(b"the one before")
    limits = {"max_disagreement": 0.0, "max_size_bytes": 1000, "min_snr_db": 200.0}
    with pytest.raises(QualityGateError, match="max_disagreement") as caught:
        convert(
            order(
                output, options={"scheme": "dynamic", "limits": limits}, calibrate=digits.calibration, force=True
            )
        )  # fmt: skip
    assert "max_size_bytes: 33" in str(caught.value)
    assert "min_snr_db: output scores" in str(caught.value)
    assert caught.value.hint
    assert output.read_bytes() == b"the one before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["digits-1.edge", "digits-1.report.html"]


def test_an_existing_artifact_is_only_replaced_by_force(tmp_path: Path) -> None:
    output = tmp_path / "digits-1.edge"
    output.write_bytes(b"the one before")
    with pytest.raises(RecipeError, match="exists") as caught:
        convert(order(output))
    assert "--force" in str(caught.value.hint)
    assert output.read_bytes() == b"the one before"
    convert(order(output, force=True))
    assert read_artifact(output).manifest.name == "digits"
    assert (EXAMPLES / "digits_v2.tflite").read_bytes() in read_artifact(output).members[MODEL_FILE]


@pytest.mark.parametrize("fails", ["report", "artifact"])
def test_a_full_disk_at_the_output_leaves_what_was_there_and_nothing_by_half(
    fails: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = tmp_path / "old" / "digits-1.edge", tmp_path / "new" / "digits-1.edge"
    convert(order(old))
    before = old.read_bytes()
    room = 100 if fails == "report" else old.with_suffix(".report.html").stat().st_size + 100
    write, written = os.write, 0

    def nearly_full(descriptor: int, content: bytes) -> int:
        nonlocal written
        if written == room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written += write(descriptor, content[: room - written])
        return written

    monkeypatch.setattr(os, "write", nearly_full)
    for output in (old, new):
        written = 0
        with pytest.raises(StorageError, match="the disk is full") as caught:
            convert(order(output, force=True))
        assert "agent" not in f"{caught.value} {caught.value.hint}"
        assert "another disk" in str(caught.value.hint)
    assert old.read_bytes() == before
    assert [path.name for path in new.parent.iterdir()] == []
    assert {path.name for path in old.parent.iterdir()} <= {"digits-1.edge", "digits-1.report.html"}


def test_an_output_that_cannot_be_written_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("here")
    (tmp_path / "digits-1.edge").mkdir()
    with pytest.raises(StorageError, match="file: "):
        convert(order(tmp_path / "file" / "digits-1.edge"))
    with pytest.raises(RecipeError, match="is a directory"):
        convert(order(tmp_path / "digits-1.edge", force=True))
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["digits-1.edge", "file"]


def test_without_data_golden_vectors_are_of_made_up_inputs_and_it_is_said(tmp_path: Path) -> None:
    output = tmp_path / "digits-1.edge"
    done = convert(order(output, options={"scheme": "dynamic"}))
    assert any("made-up" in note for note in done.notes)
    assert not done.fidelity.comparison.representative
    artifact = read_artifact(output)
    assert len(parse_golden(artifact.members[GOLDEN_FILE])) == 4
    assert "calibration" not in artifact.manifest.provenance


def test_int8_without_data_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="int8 needs representative data") as caught:
        convert(order(tmp_path / "digits-1.edge", options={"scheme": "int8"}))
    assert "--calibrate" in str(caught.value.hint)


def test_a_limit_that_needs_data_is_not_passed_over_without_data(tmp_path: Path) -> None:
    options = {"scheme": "float16", "limits": {"min_top1_agreement": 0.9}}
    with pytest.raises(CalibrationError, match="judged on representative data"):
        convert(order(tmp_path / "digits-1.edge", options=options))


def test_a_wrong_number_of_labels_is_refused(tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("zero\none\n")
    with pytest.raises(ConversionError, match="2 labels") as caught:
        convert(order(tmp_path / "digits-1.edge", options={"labels": str(labels)}))
    assert "10" in str(caught.value)
    assert not (tmp_path / "digits-1.edge").exists()


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe\x00"])
def test_unreadable_labels_are_named(content: bytes | None, tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    if content is not None:
        labels.write_bytes(content)
    with pytest.raises(RecipeError, match=r"labels\.txt"):
        convert(order(tmp_path / "digits-1.edge", options={"labels": str(labels)}))


@pytest.mark.parametrize("called", ["digits.edge", "digits-1.zip", "Digits-1.edge", "-1.edge", "digits-one.edge"])
def test_the_output_must_say_name_and_version(called: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="NAME-VERSION") as caught:
        convert(order(tmp_path / called))
    assert "digits-1.0.0.edge" in str(caught.value.hint)


def test_converting_a_quantized_model_again_is_refused_but_it_can_be_packaged(
    int8: Path, digits: Digits, tmp_path: Path
) -> None:
    quantized = tmp_path / "quantized.tflite"
    quantized.write_bytes(read_artifact(int8).members[MODEL_FILE])
    output = tmp_path / "digits-2.edge"
    for scheme in ("float32", "float16", "dynamic", "int8"):
        with pytest.raises(ConversionError, match=r"quantized already \(INT8\)") as caught:
            convert(order(output, source=quantized, options={"scheme": scheme}, calibrate=digits.calibration))
        assert "unchanged" in str(caught.value.hint)
        assert not output.exists()
    done = convert(order(output, source=quantized, options={"scheme": "unchanged"}, calibrate=digits.calibration))
    assert read_artifact(output).members[MODEL_FILE] == quantized.read_bytes()
    assert done.fidelity.comparison.float_model is None
    assert picture_accuracy(output, digits, tmp_path / "release") >= FLOAT_ACCURACY - 0.015


def test_an_operator_that_the_quantizer_does_not_know_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="did you mean 'SOFTMAX'"):
        convert(order(tmp_path / "digits-1.edge", options={"scheme": "dynamic", "float_operators": ["SOFT_MAX"]}))


def test_operators_left_float_are_counted(digits: Digits, tmp_path: Path) -> None:
    options = {"scheme": "int8", "float_operators": ["FULLY_CONNECTED", "HARD_SWISH"]}
    done = convert(order(tmp_path / "digits-1.edge", options=options, calibrate=digits.calibration))
    assert done.fidelity.float_operators["FULLY_CONNECTED"] == 2
    assert "CONV_2D" not in done.fidelity.float_operators


def test_an_artifact_is_not_a_source(int8: Path, tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="artifact already"):
        convert(order(tmp_path / "digits-2.edge", source=int8))


def test_what_is_not_a_model_is_named(tmp_path: Path) -> None:
    page = tmp_path / "model.tflite"
    page.write_text("<!DOCTYPE html><html></html>")
    with pytest.raises(ModelError, match="HTML") as caught:
        convert(order(tmp_path / "digits-1.edge", source=page))
    assert caught.value.reason is Reason.NOT_A_MODEL
    with pytest.raises(ModelError, match="No such file"):
        convert(order(tmp_path / "digits-1.edge", source=tmp_path / "missing.tflite"))
    old = tmp_path / "model.h5"
    old.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(20))
    with pytest.raises(ConversionError, match="no HDF5 file is") as converted:
        convert(order(tmp_path / "digits-1.edge", source=old))
    assert "model.keras" in str(converted.value.hint)
    assert not list(tmp_path.glob("*.edge"))


def test_dense_layers_of_the_dynamic_scheme_have_one_scale(tmp_path: Path) -> None:
    """tflite-runtime 2.14 reads no more than one there, and answers wrongly instead of refusing."""
    content = quantize(
        (EXAMPLES / "linescan_v1.tflite").read_bytes(), build_recipe({}, {"scheme": "dynamic"}).treatment, [], tmp_path
    ).content
    (tmp_path / "model.tflite").write_bytes(content)
    weights = [tensor for tensor in inspect_model(tmp_path / "model.tflite").tensors if tensor.dtype == "int8"]
    dense = [tensor for tensor in weights if len(tensor.shape) == 2]
    assert len(dense) == 2
    assert not any(tensor.per_channel for tensor in dense)


def test_quantized_weights_are_per_channel(int8: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(read_artifact(int8).members[MODEL_FILE])
    model = inspect_model(path)
    assert model.inputs[0].dtype == model.outputs[0].dtype == "int8"
    assert sum(tensor.per_channel for tensor in model.tensors if tensor.dtype == "int8") == 4


@pytest.mark.shared_data
def test_a_signature_of_several_is_packaged_as_it_is_and_run_by_its_name(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "models/sensor/two_signatures.tflite"
    with pytest.raises(ConversionError, match=r"2 signatures \(add, multiply\), and an artifact runs one: name one"):
        convert(order(tmp_path / "two-1.edge", source=source, recipe=None, options={"scheme": "unchanged"}))
    with pytest.raises(ConversionError, match="only scheme unchanged can run one"):
        convert(order(tmp_path / "two-1.edge", source=source, recipe=None, options={"signature": "multiply"}))
    with pytest.raises(ConversionError, match="no signature 'subtract'; it has add, multiply"):
        convert(order(tmp_path / "two-1.edge", source=source, recipe=None, options={"signature": "subtract"}))
    convert(
        order(
            tmp_path / "two-1.edge",
            source=source,
            recipe=None,
            options={"scheme": "unchanged", "signature": "multiply"},
        )
    )
    manifest = read_artifact(tmp_path / "two-1.edge").manifest
    assert (manifest.signature, manifest.task) == ("multiply", "regression")
    with unpack(tmp_path / "two-1.edge", tmp_path / "release") as model:
        outputs = model.invoke(model.prepare_tensors([[3.0]]))
    assert outputs[0].reshape(-1).tolist() == [30.0]


def test_a_model_that_remembers_says_so_in_its_manifest(tmp_path: Path) -> None:
    source = Path(__file__).parents[1] / "inference/models/running_sum.tflite"
    constants = {"gain": 2.0}
    done = convert(order(tmp_path / "sum-1.edge", source=source, recipe=None, options={"constants": constants}))
    manifest = read_artifact(tmp_path / "sum-1.edge").manifest
    assert (manifest.state, manifest.constants) == ({"next_sum": "sum"}, constants)
    assert any("state guessed" in note for note in done.notes)
    with unpack(tmp_path / "sum-1.edge", tmp_path / "release") as model:
        found = [model.invoke(model.prepare_tensors([[1.0, 1.0]]))[0].reshape(-1).tolist() for _ in range(2)]
    assert found == [[2.0, 2.0], [4.0, 4.0]]


@pytest.mark.shared_data
def test_a_model_of_sound_is_packaged_with_how_it_hears(shared_data: Path, tmp_path: Path) -> None:
    output = tmp_path / "words-1.edge"
    source = shared_data / "models/audio/kws_dscnn_float.tflite"
    done = convert(
        order(output, source=source, recipe=None, options={"scheme": "unchanged"}, calibrate=shared_data / "audio")
    )
    manifest = read_artifact(output).manifest
    assert (manifest.task, manifest.input) == (
        "audio_classification",
        AudioInput(features="mfcc", bins=10, amplitude="peak", window=16_000, stride=8_000),
    )
    assert done.fidelity.comparison.representative
    with unpack(output, tmp_path / "release") as model:
        prepared = model.prepare_sound(read_wav(shared_data / "audio/yes_1000ms.wav")[0])
        assert model.decode(model.invoke(prepared), prepared)[0].index == 9
