"""What can be known of a model without running it, and what a file is that is none."""

import io
import json
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_agent.errors import ModelError, Reason
from edge_agent.inference.model_file import FileOperator, check_model_file, inspect_model
from tests.sim.artifact import make_members, pack

SINE = Path("models/sensor/sine_int8.tflite")


@pytest.mark.shared_data
def test_a_quantized_model_is_described(shared_data: Path) -> None:
    model = inspect_model(shared_data / "models/classification/mobilenet_v2_1.0_224_quant.tflite")
    assert model.size_bytes == 3_610_798
    assert model.operators[:2] == (
        FileOperator("CONV_2D", 36, custom=False),
        FileOperator("DEPTHWISE_CONV_2D", 17, custom=False),
    )
    assert sum(operator.count for operator in model.operators) == 66
    assert (model.inputs[0].dtype, model.inputs[0].shape) == ("uint8", (1, 224, 224, 3))
    assert (model.inputs[0].scales, model.inputs[0].zero_points) == ((0.0078125,), (128,))
    assert not model.inputs[0].per_channel
    assert model.output_operators == ("SOFTMAX",)
    assert model.unsupported_operators == ()
    assert len(model.labels) == 1001
    assert model.labels[286] == "Egyptian cat"
    assert sum(tensor.constant_bytes for tensor in model.tensors) < model.size_bytes


@pytest.mark.shared_data
def test_metadata_tells_name_normalization_and_labels(shared_data: Path) -> None:
    model = inspect_model(shared_data / "models/classification/mobilenet_v1_0.25_224_1_metadata_1.tflite")
    assert model.metadata is not None
    assert model.metadata.name == "MobileNetV1 image classifier"
    assert (model.metadata.inputs[0].mean, model.metadata.inputs[0].std) == ((127.5,), (127.5,))
    assert model.metadata.inputs[0].color == "rgb"
    assert model.metadata.outputs[0].label_files == ("labels.txt",)
    assert list(model.associated_files) == ["labels.txt"]
    assert len(model.labels) == 1001


@pytest.mark.shared_data
def test_the_detector_and_its_order_of_outputs_are_described(shared_data: Path) -> None:
    model = inspect_model(shared_data / "models/detection/coco_ssd_mobilenet_v1_metadata.tflite")
    assert [operator.name for operator in model.operators if operator.custom] == ["TFLite_Detection_PostProcess"]
    assert model.detection_classes == 90
    assert inspect_model(shared_data / SINE).detection_classes is None
    assert model.unsupported_operators == ()
    assert model.metadata is not None
    assert [tensor.name for tensor in model.metadata.outputs] == [
        "locations",
        "classes",
        "scores",
        "number of detections",
    ]
    assert model.labels[17] == "dog"
    without = inspect_model(shared_data / "models/detection/coco_ssd_mobilenet_v1_no_metadata.tflite")
    assert (without.metadata, without.labels, without.operators) == (None, (), model.operators)


@pytest.mark.shared_data
def test_per_channel_weights_open_batches_and_signatures_are_seen(shared_data: Path) -> None:
    mnist = inspect_model(shared_data / "models/classification/mnist_conv_fc_a8w8.tflite")
    assert mnist.inputs[0].dynamic_shape == (-1, 28, 28, 1)
    assert mnist.inputs[0].shape == (1, 28, 28, 1)
    assert any(tensor.per_channel for tensor in mnist.tensors)
    two = inspect_model(shared_data / "models/sensor/two_signatures.tflite")
    assert [signature.key for signature in two.signatures] == ["add", "multiply"]
    assert list(two.signatures[0].inputs) == ["x"]
    har = inspect_model(shared_data / "models/sensor/har_qcnn_8x8x8.tflite")
    assert har.output_operators == ("SOFTMAX",)  # behind a DEQUANTIZE


@pytest.mark.shared_data
def test_every_operator_of_every_model_has_a_name(shared_data: Path) -> None:
    for path in sorted((shared_data / "models").rglob("*.tflite")):
        assert not [item.name for item in inspect_model(path).operators if item.name.startswith("BUILTIN_")], path


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("name", "operators"),
    [
        ("mobilenet_v1_0.25_128_edgetpu", ("edgetpu-custom-op",)),
        ("posenet_custom_op", ("PosenetDecoderOp",)),
        ("model_invoking_error", ("fake-op-double",)),
    ],
)
def test_operators_that_no_interpreter_has_are_named(shared_data: Path, name: str, operators: tuple[str, ...]) -> None:
    model = inspect_model(shared_data / f"bad_models/{name}.tflite")
    assert model.unsupported_operators == operators
    assert model.needs_edge_tpu is ("edgetpu" in name)


def keras() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in ("metadata.json", "config.json", "model.weights.h5"):
            archive.writestr(name, "{}")
    return buffer.getvalue()


def torch() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("net/data.pkl", b"\x80\x02.")
    return buffer.getvalue()


def tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("model.tflite"), io.BytesIO())
    return buffer.getvalue()


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 123\n"


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "empty"),
        (LFS, "Git LFS pointer"),
        (b"<!DOCTYPE html>\n<html><body>Sign in</body></html>", "HTML"),
        (b"\n  <html>", "HTML"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "Keras or HDF5"),
        (keras(), "Keras model"),
        (torch(), "PyTorch"),
        (keras()[:40], "zip file that is cut off"),
        (tar(), "tar archive"),
        (b"\x08\x08\x12\x07pytorch\x1a\x062.13.0", "ONNX"),
        (b"\x80\x04\x95" + bytes(20), "pickle"),
        (b"\x1f\x8b\x08" + bytes(20), "gzip"),
        (b"\xff\xd8\xff\xe0" + bytes(20), "JPEG"),
        (b"\x89PNG\r\n\x1a\n" + bytes(20), "PNG"),
        (bytes(5000), "zeros"),
        (b'{"error": "not found"}', "text file"),
        ("Modèle non trouvé".encode(), "text file"),
        (b"\x01\x02\x03", "only 3 bytes"),
        (bytes(range(128, 256)), "unknown kind"),
        (b"\x1c\x00\x00\x00TFL3", "cut off or damaged"),
        (b"\x1c\x00\x00\x00TFL3" + bytes(300), "cut off or damaged"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_file_that_is_no_model_is_told_what_it_is(tmp_path: Path, content: bytes, what: str) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    for read in (check_model_file, inspect_model):
        with pytest.raises(ModelError, match=what) as caught:
            read(path)
        assert caught.value.reason is Reason.NOT_A_MODEL
        assert str(path) in str(caught.value)
        assert caught.value.hint


def test_a_directory_a_missing_file_and_an_artifact_are_told_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved/saved_model.pb").write_bytes(b"")
    for path, what in (
        (tmp_path, "directory"),
        (tmp_path / "saved", "SavedModel"),
        (tmp_path / "gone.tflite", "No such file"),
        (pack(make_members(b"x"), tmp_path / "a.tflite"), r"\.edge artifact"),
    ):
        with pytest.raises(ModelError, match=what) as caught:
            check_model_file(path)
        assert caught.value.reason is Reason.NOT_A_MODEL
        assert caught.value.hint


@pytest.mark.shared_data
def test_a_whole_model_passes(shared_data: Path) -> None:
    check_model_file(shared_data / SINE)


@pytest.mark.shared_data
def test_a_model_cut_off_anywhere_is_refused_or_still_whole(shared_data: Path, tmp_path: Path) -> None:
    content = (shared_data / SINE).read_bytes()
    path = tmp_path / "cut.tflite"
    refused = 0
    for size in range(0, len(content), 7):
        path.write_bytes(content[:size])
        refused += _refused(path)
    assert refused > 0.95 * len(range(0, len(content), 7))  # only padding at the very end may be missing


@pytest.mark.shared_data
@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_model_is_described_or_refused(shared_data: Path, tmp_path: Path, data: st.DataObject) -> None:
    name = data.draw(
        st.sampled_from([str(SINE), "models/sensor/two_signatures.tflite", "bad_models/model_invoking_error.tflite"])
    )
    content = bytearray((shared_data / name).read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(content) - 4))
        content[at : at + 4] = data.draw(
            st.sampled_from([b"\xff\xff\xff\xff", b"\0\0\0\x80", b"\0\0\0\0"]) | st.binary(min_size=4, max_size=4)
        )
    path = tmp_path / "fuzzed.tflite"
    path.write_bytes(content)
    _refused(path)


@given(content=st.binary(max_size=300), magic=st.booleans())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_refused(tmp_path: Path, content: bytes, magic: bool) -> None:  # noqa: FBT001
    path = tmp_path / "any.tflite"
    path.write_bytes(b"\x10\0\0\0TFL3" * magic + content)
    with pytest.raises(ModelError) as caught:
        inspect_model(path)
    assert caught.value.reason is Reason.NOT_A_MODEL


def test_looking_at_a_model_needs_neither_numpy_nor_an_interpreter() -> None:
    code = "import sys, json, edge_agent.inference.model_file; print(json.dumps(sorted(sys.modules)))"
    loaded = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
    assert not {"numpy", "PIL", "flatbuffers", "ai_edge_litert", "tflite_runtime"} & set(loaded)


def _refused(path: Path) -> bool:
    """Whether it is; only in the one way it may be."""
    try:
        inspect_model(path)
    except ModelError as error:
        return error.reason is Reason.NOT_A_MODEL or pytest.fail(f"refused as {error.reason}")
    return False
