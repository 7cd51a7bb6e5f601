"""A `.tflite` as the source: what is refused, the two repairs, and damaged files."""

import contextlib
import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from converter.convert import convert
from converter.errors import ConversionError
from converter.frontends.tflite import normalize
from converter.inspect import inspect_file
from converter.source import open_source
from converter.tflite_schema import add_signature, constant_tensors, fix_batch, read_graph
from edge_agent.errors import EdgeError
from edge_agent.inference.tflite import open_engine
from tests.converter.conftest import EXAMPLES, Digits, order
from tests.sim.interrupting import running_edgectl
from tests.sim.model_file import build_table

SMALL = (EXAMPLES / "linescan_v1.tflite").read_bytes()


def poisoned(value: float) -> bytes:
    """The small model with one weight replaced."""
    content = bytearray(SMALL)
    model = schema_py_generated.Model.GetRootAs(content, 0)
    for number in range(model.BuffersLength()):
        if model.Buffers(number).DataLength() > 1000:
            model.Buffers(number).DataAsNumpy()[:4] = np.frombuffer(np.float32(value).tobytes(), np.uint8)
    return bytes(content)


def without_signature() -> bytes:
    model = schema_py_generated.ModelT.InitFromObj(schema_py_generated.Model.GetRootAs(SMALL, 0))
    model.signatureDefs = []
    from flatbuffers import Builder

    builder = Builder(len(SMALL))
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("scheme", ["float32", "int8", "unchanged"])
def test_weights_that_are_not_finite_are_refused(value: float, scheme: str) -> None:
    with pytest.raises(ConversionError, match="weights hold NaN or Inf"):
        normalize(poisoned(value), scheme, "linescan.tflite")  # type: ignore[arg-type]  # one of Scheme


def test_activations_that_overflow_are_refused_before_they_make_a_model_that_crashes(
    digits: Digits, tmp_path: Path
) -> None:
    source = tmp_path / "linescan.tflite"
    source.write_bytes(poisoned(3e38))
    recipe = EXAMPLES / "linescan.toml"
    with pytest.raises(ConversionError, match="NaN or Inf"):
        convert(
            order(
                tmp_path / "linescan-1.edge",
                source=source,
                recipe=recipe,
                options={"scheme": "int8"},
                calibrate=digits.calibration_rows,
            )
        )
    assert not (tmp_path / "linescan-1.edge").exists()


def test_a_model_without_signature_can_be_quantized(digits: Digits, tmp_path: Path) -> None:
    source = tmp_path / "linescan.tflite"
    source.write_bytes(without_signature())
    assert not read_graph(source.read_bytes()).signatures
    done = convert(
        order(
            tmp_path / "linescan-1.edge",
            source=source,
            recipe=EXAMPLES / "linescan.toml",
            options={"scheme": "int8"},
            calibrate=digits.calibration_rows,
        )
    )
    assert done.fidelity.comparison.top1_agreement == 1.0


def test_a_signature_is_named_after_the_tensors_and_changes_no_answer(tmp_path: Path) -> None:
    signed = add_signature(without_signature())
    graph = read_graph(signed)
    assert graph.signatures[0].key == "serving_default"
    assert set(graph.signatures[0].inputs.values()) == set(graph.inputs)
    rows = np.arange(64, dtype=np.float32).reshape(1, 8, 8) % 17
    answers = []
    for name, content in (("signed", signed), ("plain", SMALL)):
        (tmp_path / name).write_bytes(content)
        with open_engine(tmp_path / name) as engine:
            answers.append(engine.invoke([rows])[0])
    assert np.array_equal(answers[0], answers[1])


def test_a_fixed_batch_is_left_as_it_is() -> None:
    assert fix_batch(SMALL) == SMALL


@pytest.mark.shared_data
def test_an_open_batch_becomes_one(shared_data: Path, tmp_path: Path) -> None:
    open_batch = (shared_data / "models/classification/mnist_conv_fc_float.tflite").read_bytes()
    before = read_graph(open_batch)
    assert before.tensors[before.inputs[0]].signature == (-1, 28, 28, 1)
    source = tmp_path / "mnist.tflite"
    source.write_bytes(open_batch)
    fixed = open_source(source, "float32", tmp_path)
    assert fixed.graph.tensors[fixed.graph.inputs[0]].signature == (1, 28, 28, 1)
    assert not [tensor for tensor in fixed.graph.tensors if tensor.signature[:1] == (-1,)]
    assert len(fixed.content) == len(open_batch)
    assert source.read_bytes() == open_batch


@pytest.mark.shared_data
def test_several_signatures_are_named(shared_data: Path) -> None:
    content = (shared_data / "models/sensor/two_signatures.tflite").read_bytes()
    with pytest.raises(ConversionError, match=r"2 signatures \(add, multiply\)"):
        normalize(content, "unchanged", "two.tflite")


@pytest.mark.shared_data
@pytest.mark.parametrize(
    "name",
    [
        "audio_preprocessor_signal_ops", "git_lfs_pointer", "mobilenet_v1_0.25_128_edgetpu", "model_invoking_error",
        "person_detect_old_quant", "posenet_custom_op", "truncated_half", "whitespace_tokenizer_flex",
    ],
)  # fmt: skip
@pytest.mark.parametrize("scheme", ["dynamic", "unchanged"])
def test_bad_models_are_refused_and_nothing_is_written(
    name: str, scheme: str, shared_data: Path, tmp_path: Path
) -> None:
    source = shared_data / "bad_models" / f"{name}.tflite"
    with pytest.raises(EdgeError) as caught:
        convert(order(tmp_path / "bad-1.edge", source=source, recipe=None, options={"scheme": scheme}))
    assert caught.value.hint
    assert "Traceback" not in str(caught.value)
    assert "edgectl-" not in str(caught.value)  # no path of ours
    assert list(tmp_path.iterdir()) == []


def test_a_custom_operator_is_named_where_the_list_of_buffers_is_left_out(tmp_path: Path) -> None:
    """As TensorFlow's own tests write models: buffer 0 stands for no values, and is not there either."""
    shape, ends = np.array([1, 3], np.int32), (np.array([0], np.int32), np.array([1], np.int32))
    graph = {0: [{0: shape}, {0: shape}], 1: ends[0], 2: ends[1], 3: [{1: ends[0], 2: ends[1]}]}
    source = tmp_path / "double.tflite"
    code = {0: ("Int8", 32), 1: "fake-op-double", 3: ("Int32", 32)}
    source.write_bytes(build_table({0: ("Uint32", 3), 1: [code], 2: [graph]}, b"TFL3"))

    for scheme in ("float16", "unchanged"):
        with pytest.raises(ConversionError, match=r"custom operators that .* does not have: fake-op-double") as caught:
            convert(order(tmp_path / "double-1.edge", source=source, recipe=None, options={"scheme": scheme}))
        assert "end the model before them" in str(caught.value.hint)
    assert inspect_file(source)["layers"][0]["operator"] == "fake-op-double"
    assert [tensor is None for tensor in constant_tensors(bytearray(source.read_bytes()))] == [True, True]
    assert list(tmp_path.iterdir()) == [source]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.integers(0, len(SMALL) - 1), st.integers(0, 255)), min_size=1, max_size=6), st.booleans())
def test_damaged_models_give_only_our_error(changes: list[tuple[int, int]], cut: bool) -> None:  # noqa: FBT001
    content = bytearray(SMALL)
    for position, value in changes:
        content[position % 6000 if value % 2 else position] = value
    damaged = bytes(content[: changes[0][0]] if cut else content)
    with contextlib.suppress(ConversionError):
        normalize(damaged, "float32", "x")
    with contextlib.suppress(ConversionError):
        add_signature(damaged)


@pytest.mark.parametrize("content", [b"PK\x03\x04 cut off", b""])
def test_an_empty_or_cut_off_zip_is_no_source(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.tflite").write_bytes(content)
    with pytest.raises(EdgeError, match=r"cut off|empty"):
        open_source(tmp_path / "model.tflite", "float32", tmp_path)


def test_a_zip_of_something_else_is_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.tflite", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(EdgeError, match="zip"):
        open_source(tmp_path / "model.tflite", "float32", tmp_path)


def test_without_room_for_its_work_a_conversion_ends_in_one_error_and_leaves_nothing(tmp_path: Path) -> None:
    """No file may grow beyond 16 KiB there, as on a disk that is full after that."""
    output, work = tmp_path / "out" / "digits-1.edge", tmp_path / "work"
    output.parent.mkdir()
    work.mkdir()
    command = [sys.executable, "-m", "converter.cli", "convert", str(EXAMPLES / "digits_v2.tflite"), "-o", str(output)]
    done = subprocess.run(
        ["sh", "-c", 'ulimit -f 32; exec "$@"', "sh", *command],
        env={**os.environ, "TMPDIR": str(work)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    error, hint = done.stderr.splitlines()
    assert error == f"error: there is no room left in {work}, where the conversion works"
    assert hint.startswith("hint: free some space")
    assert list(output.parent.iterdir()) == []
    assert list(work.iterdir()) == []


def test_a_conversion_that_is_terminated_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    output, work = tmp_path / "out" / "digits-1.edge", tmp_path / "work"
    output.parent.mkdir()
    work.mkdir()
    environment = {**os.environ, "TMPDIR": str(work)}
    arguments = ["convert", str(EXAMPLES / "digits_v2.tflite"), "-o", str(output)]
    with running_edgectl(*arguments, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        while not list(work.glob("edgectl-*/*.request.json")):  # a child is at work
            assert process.poll() is None
            Event().wait(0.01)
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=30)
    assert (process.returncode, *said) == (143, "", "")
    assert list(output.parent.iterdir()) == []
    assert list(work.iterdir()) == []


@pytest.mark.parametrize("name", ["gone.keras", "gone.h5", "gone.onnx", "gone.tflite", "gone"])
def test_a_source_that_is_not_there_is_our_error(name: str, tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match="No such file") as raised:
        open_source(tmp_path / name, "float32", tmp_path)
    assert raised.value.hint == "check the path"


def test_a_directory_that_is_no_saved_model_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"is a directory, and no SavedModel: it holds no saved_model\.pb"):
        open_source(tmp_path, "float32", tmp_path)
