"""The engine: what loads runs, and what does not load says why."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from flatbuffers import Builder

from edge_agent.errors import ConfigError, ModelError, Reason
from edge_agent.inference.engine import Engine
from edge_agent.inference.tflite import ENGINE_VARIABLE, TfliteEngine, engine_library, open_engine
from edge_agent.transform.tensor import Quantization, TensorSpec
from tests.sim.engine import FakeEngine

MOBILENET = "models/classification/mobilenet_v2_1.0_224_quant.tflite"
SINE = "models/sensor/sine_float.tflite"
SIGNATURES = "models/sensor/two_signatures.tflite"
MNIST = "models/classification/mnist_conv_fc_float.tflite"
MODELS = Path(__file__).parent / "models"
pytestmark = pytest.mark.shared_data


def opened(shared_data: Path, kind: str) -> Engine:
    if kind == "real":
        return open_engine(shared_data / SINE)
    tensor = TensorSpec("x", (1, 1), np.dtype(np.float32))
    return FakeEngine([tensor], [tensor], lambda inputs: [np.sin(inputs[0])])


@pytest.mark.parametrize("kind", ["real", "fake"])
def test_engines_keep_the_promises_of_their_port(shared_data: Path, kind: str) -> None:
    with opened(shared_data, kind) as engine:
        assert [tensor.shape for tensor in engine.inputs] == [(1, 1)]
        assert engine.inputs[0].dtype == np.float32
        first = engine.invoke([np.array([[1.0]], np.float32)])
        kept = first[0].copy()
        second = engine.invoke([np.array([[4.0]], np.float32)])
        assert np.array_equal(first[0], kept), "outputs are copies"
        assert first[0][0, 0] == pytest.approx(np.sin(1.0), abs=0.1)
        assert second[0][0, 0] == pytest.approx(np.sin(4.0), abs=0.1)
        assert engine.report.library
        assert engine.report.threads == 1
        with pytest.raises(ModelError):
            engine.invoke([np.zeros((1, 1), np.uint8)])
        with pytest.raises(ModelError):
            engine.invoke([np.zeros((2, 3), np.float32)])
        assert np.array_equal(engine.invoke([np.array([[1.0]], np.float32)])[0], kept), "and it runs on"
    with pytest.raises(ValueError, match="closed"):
        engine.invoke([np.array([[1.0]], np.float32)])


def test_tensors_are_described_as_the_model_has_them(shared_data: Path) -> None:
    with open_engine(shared_data / MOBILENET) as engine:
        assert engine.inputs == (
            TensorSpec("input", (1, 224, 224, 3), np.dtype(np.uint8), Quantization(0.0078125, 128)),
        )
        assert engine.outputs[0].shape == (1, 1001)
        assert engine.outputs[0].quantization == Quantization(0.00390625, 0)


def test_the_outputs_of_a_detector_have_their_true_shapes_before_it_has_run(shared_data: Path) -> None:
    with open_engine(shared_data / "models/detection/coco_ssd_mobilenet_v1_metadata.tflite") as engine:
        assert [tensor.shape for tensor in engine.outputs] == [(1, 10, 4), (1, 10), (1, 10), (1,)]
        found = engine.invoke([np.zeros(tensor.shape, tensor.dtype) for tensor in engine.inputs])
        assert [array.shape for array in found] == [tensor.shape for tensor in engine.outputs]


def test_it_is_told_whether_a_delegate_took_nodes(shared_data: Path) -> None:
    with open_engine(shared_data / "models/classification/mobilenet_v1_0.25_224_1_metadata_1.tflite") as engine:
        assert engine.report.delegated
    with open_engine(shared_data / MOBILENET) as engine:  # quantized: the older one leaves it to its own kernels
        assert engine.report.delegated is engine.report.library.startswith("ai-edge-litert")


@pytest.mark.parametrize(
    ("signature", "name", "answer"), [("add", "add_result", 13.0), ("multiply", "multiply_result", 30.0)]
)
def test_a_signature_is_run_by_its_name(shared_data: Path, signature: str, name: str, answer: float) -> None:
    with open_engine(shared_data / SIGNATURES, signature=signature) as engine:
        assert [tensor.name for tensor in engine.inputs] == ["x"]
        assert [tensor.name for tensor in engine.outputs] == [name]
        assert engine.invoke([np.array([3.0], np.float32)])[0].tolist() == [answer]
        for wrong in (np.array([3.0]), np.array([[3.0]], np.float32)):
            with pytest.raises(ModelError, match="takes x float32"):
                engine.invoke([wrong])
        assert engine.invoke([np.array([3.0], np.float32)])[0].tolist() == [answer], "and it runs on"


def test_a_signature_of_another_graph_takes_batches_too(shared_data: Path) -> None:
    with open_engine(shared_data / SIGNATURES, signature="multiply") as engine:
        assert engine.dynamic_batch
        for values in ([1.0, 2.0, 3.0], [4.0], [5.0, 6.0]):
            found = engine.invoke([np.array(values, np.float32)])
            assert found[0].tolist() == [10 * value for value in values]


def test_an_unknown_signature_is_told_with_those_there_are(shared_data: Path) -> None:
    with pytest.raises(ModelError, match="no signature 'divide'; it has add, multiply") as caught:
        open_engine(shared_data / SIGNATURES, signature="divide")
    assert caught.value.reason is Reason.INCOMPATIBLE
    with pytest.raises(ModelError, match="it has none"):
        open_engine(shared_data / MOBILENET, signature="main")


def test_several_inputs_are_run_at_once_where_the_batch_is_open(shared_data: Path) -> None:
    with open_engine(shared_data / MNIST) as engine:
        assert engine.dynamic_batch
        pictures = np.random.default_rng(1).random((5, 28, 28, 1), np.float32)
        singly = np.concatenate([engine.invoke([picture[None]])[0] for picture in pictures])
        for size in (5, 2, 5, 1, 3):
            together = engine.invoke([pictures[:size]])[0]
            assert together.shape == (size, 10)
            assert np.allclose(together, singly[:size], atol=1e-5)
        for wrong in (pictures[:0], pictures[:, :14], pictures[0]):
            with pytest.raises(ModelError, match="the model takes"):
                engine.invoke([wrong])
        assert np.allclose(engine.invoke([pictures[:1]])[0], singly[:1], atol=1e-5), "and it runs on"
    with open_engine(shared_data / MOBILENET) as engine:
        assert not engine.dynamic_batch
        with pytest.raises(ModelError, match=r"takes input uint8\[1,224,224,3\]; found uint8\[2,224,224,3\]"):
            engine.invoke([np.zeros((2, 224, 224, 3), np.uint8)])


@pytest.mark.parametrize("signature", [None, "run"])
def test_a_batch_that_only_looks_open_is_found_out(signature: str | None) -> None:
    with open_engine(MODELS / "closed_batch.tflite", signature=signature) as engine:
        one = np.array([[1.0, 2.0]], np.float32)
        looks_open = engine.dynamic_batch
        with pytest.raises(ModelError, match="failed while running 3 inputs at once"):
            engine.invoke([np.repeat(one, 3, axis=0)])
        assert (looks_open, engine.dynamic_batch) == (True, False)
        assert engine.invoke([one])[0].tolist() == [[1.0, 2.0]], "and it runs on, one by one"


def test_scalars_are_inputs_and_outputs_like_any_other(tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert.schema_py_generated")
    from tests.inference.models import make

    path = tmp_path / "scalar.tflite"
    path.write_bytes(make.doubled())
    with open_engine(path) as engine:
        assert [tensor.shape for tensor in (*engine.inputs, *engine.outputs)] == [(), ()]
        assert not engine.dynamic_batch
        assert engine.invoke([np.array(21, np.float32)])[0].tolist() == 42


def test_the_models_made_here_are_what_their_script_makes() -> None:
    pytest.importorskip("ai_edge_litert.schema_py_generated")
    from tests.inference.models import make

    assert (MODELS / "running_sum.tflite").read_bytes() == make.running_sum() == make.TINY.read_bytes()
    assert (MODELS / "closed_batch.tflite").read_bytes() == make.closed_batch()


def test_threads_are_measured_where_nobody_says(shared_data: Path) -> None:
    with open_engine(shared_data / SINE, "auto", cores=1) as engine:
        assert (engine.report.threads, engine.report.measured) == (1, None), "there is no choice"
    with open_engine(shared_data / SINE, "auto", cores=2) as engine:
        measured = engine.report.measured
        if measured is not None:  # this machine may have one core only
            assert engine.report.threads in measured.p50_ms
            assert "measured at 30 invokes a second" in str(measured)
        assert engine.invoke([np.array([[1.0]], np.float32)])
    with open_engine(shared_data / SINE, 2) as engine:
        assert (engine.report.threads, engine.report.measured) == (2, None)


BAD = {
    "git_lfs_pointer": (Reason.NOT_A_MODEL, "Git LFS pointer"),
    "truncated_half": (Reason.NOT_A_MODEL, "cut off"),
    "mobilenet_v1_0.25_128_edgetpu": (Reason.MISSING_DELEGATE, "edgetpu-custom-op"),
    "whitespace_tokenizer_flex": (Reason.UNSUPPORTED_OPERATOR, "FlexWhitespaceTokenizeWithOffsets"),
    "posenet_custom_op": (Reason.UNSUPPORTED_OPERATOR, "PosenetDecoderOp"),
    "audio_preprocessor_signal_ops": (Reason.UNSUPPORTED_OPERATOR, "SignalRfft"),
    "model_invoking_error": (Reason.UNSUPPORTED_OPERATOR, "fake-op-double"),
    "person_detect_old_quant": (Reason.LOAD_FAILED, "quantized_dimension|Quantized"),
}


@pytest.mark.parametrize("name", sorted(BAD))
def test_a_model_that_cannot_run_says_why_and_what_to_do(shared_data: Path, name: str) -> None:
    reason, words = BAD[name]
    if name == "person_detect_old_quant" and engine_library().name.startswith("tflite-runtime"):
        pytest.skip("the older interpreter takes it")
    with pytest.raises(ModelError, match=words) as caught:
        open_engine(shared_data / f"bad_models/{name}.tflite")
    assert caught.value.reason is reason
    assert caught.value.hint
    assert "Traceback" not in str(caught.value)


def test_a_model_cut_off_in_its_weights_does_not_kill_the_process(shared_data: Path, tmp_path: Path) -> None:
    content = (shared_data / MOBILENET).read_bytes()
    path = tmp_path / "cut.tflite"
    for share in (0.2, 0.5, 0.9):
        path.write_bytes(content[: int(share * len(content))])
        with pytest.raises(ModelError) as caught:
            open_engine(path)
        assert caught.value.reason is Reason.NOT_A_MODEL


def test_the_environment_picks_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENGINE_VARIABLE, "tflite")
    with pytest.raises(ConfigError, match="'tflite'; expected litert or tflite-runtime"):
        engine_library()


def run(code: str, path: Path) -> str:
    """What a fresh process that may choose its library prints."""
    environment = {name: value for name, value in os.environ.items() if name != ENGINE_VARIABLE}
    command = [sys.executable, "-c", code, str(path)]
    return subprocess.run(command, capture_output=True, check=True, text=True, env=environment).stdout


def test_without_an_interpreter_the_operator_is_told_and_no_model_is_blamed(shared_data: Path) -> None:
    code = (
        "import sys\n"
        "sys.modules['ai_edge_litert'] = sys.modules['tflite_runtime'] = None\n"
        "from pathlib import Path\n"
        "from edge_agent.errors import ConfigError\n"
        "from edge_agent.inference.tflite import open_engine\n"
        "try: open_engine(Path(sys.argv[1]))\n"
        "except ConfigError as error: print(error, error.hint)\n"
    )
    told = run(code, shared_data / SINE)
    assert "ai-edge-litert cannot be imported" in told
    assert "tflite-runtime cannot be imported" in told
    assert "install" in told


def test_a_library_that_imports_but_does_not_work_is_passed_over(shared_data: Path, tmp_path: Path) -> None:
    """As tflite-runtime under NumPy 2: importing it passes, constructing raises."""
    package = tmp_path / "ai_edge_litert"
    package.mkdir()
    (package / "__init__.py").write_text("__version__ = '0.0'\n")
    (package / "interpreter.py").write_text(
        "class Interpreter:\n    def __init__(self, **_): raise AttributeError('_ARRAY_API not found')\n"
    )
    code = (
        "import sys\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "sys.modules['tflite_runtime'] = None\n"
        "from pathlib import Path\n"
        "from edge_agent.errors import ConfigError\n"
        "from edge_agent.inference.tflite import open_engine\n"
        "try: open_engine(Path(sys.argv[1]))\n"
        "except ConfigError as error: print(error)\n"
    )
    told = run(code, shared_data / SINE)
    assert "ai-edge-litert 0.0 does not work here: _ARRAY_API not found" in told
    assert "tflite-runtime cannot be imported" in told


def test_the_real_engine_is_an_engine(shared_data: Path) -> None:
    engine: Engine = open_engine(shared_data / SINE)
    assert isinstance(engine, TfliteEngine)
    engine.close()


def test_a_model_whose_names_are_no_text_is_refused_and_not_a_crash(shared_data: Path, tmp_path: Path) -> None:
    content = bytearray((shared_data / "models/sensor/two_signatures.tflite").read_bytes())
    with open_engine(shared_data / "models/sensor/two_signatures.tflite") as engine:
        name = engine.inputs[0].name.encode()
    start = content.rindex(name)
    content[start : start + 1] = b"\xff"
    path = tmp_path / "names.tflite"
    path.write_bytes(content)
    with pytest.raises(ModelError) as caught:
        open_engine(path)
    assert caught.value.reason is Reason.LOAD_FAILED


def test_an_operator_of_a_later_schema_is_an_unsupported_one(shared_data: Path, tmp_path: Path) -> None:
    schema = pytest.importorskip(
        "ai_edge_litert.schema_py_generated"
    )  # tflite-runtime has none, and tells it otherwise
    model = schema.ModelT.InitFromPackedBuf((shared_data / SINE).read_bytes())
    for code in model.operatorCodes:
        code.deprecatedBuiltinCode, code.builtinCode = 127, 9999
    builder = Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    (tmp_path / "later.tflite").write_bytes(builder.Output())
    with pytest.raises(ModelError, match="needs operator 9999") as caught:
        open_engine(tmp_path / "later.tflite")
    assert caught.value.reason is Reason.UNSUPPORTED_OPERATOR
