"""The TensorFlow Lite engine: the only place that imports an interpreter.

LiteRT is preferred; tflite-runtime is the one for 32-bit ARM. Whether a library works is only known by constructing:
tflite-runtime imports under NumPy 2 and then fails. What an interpreter raises becomes a `ModelError` here.
"""

import importlib
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from edge_agent.errors import ConfigError, ModelError, Reason
from edge_agent.inference.engine import EngineReport
from edge_agent.inference.model_file import ModelFile, inspect_model
from edge_agent.inference.operators import EDGE_TPU_OPERATOR
from edge_agent.transform.tensor import Array, Quantization, TensorSpec

ENGINE_VARIABLE = "EDGE_DEPLOY_ENGINE"  # litert or tflite-runtime; unset: the first that works
_MODULES = {"litert": "ai_edge_litert", "tflite-runtime": "tflite_runtime"}
_PACKAGES = {"litert": "ai-edge-litert", "tflite-runtime": "tflite-runtime"}
# What interpreters raise over a model (seen when fuzzing; UnicodeDecodeError is a ValueError) …
_MODEL_ERRORS = (ValueError, RuntimeError, MemoryError, OSError, TypeError, OverflowError, IndexError)
# … and what says that the library itself does not work here.
_LIBRARY_ERRORS = (ImportError, AttributeError, SystemError)


@dataclass(frozen=True, slots=True)
class Library:
    """An interpreter that can be imported. `construct` takes model_path and num_threads."""

    name: str  # "ai-edge-litert 2.3.0"
    construct: Callable[..., Any]


class TfliteEngine:
    """One interpreter with its tensors allocated. Made by `open_engine`. Not thread-safe."""

    def __init__(self, interpreter: Any, library: str, threads: int) -> None:
        self._interpreter = interpreter
        self._input_indices = [int(detail["index"]) for detail in interpreter.get_input_details()]
        self._output_indices = [int(detail["index"]) for detail in interpreter.get_output_details()]
        self.inputs = tuple(_tensor_spec(detail) for detail in interpreter.get_input_details())
        self._settle_outputs()
        self.outputs = tuple(_tensor_spec(detail) for detail in interpreter.get_output_details())
        self.report = EngineReport(library, threads, _delegated(interpreter))

    def invoke(self, inputs: Sequence[Array]) -> list[Array]:
        """See `Engine.invoke`."""
        if self._interpreter is None:
            raise ValueError("the engine is closed")
        try:
            for index, array in zip(self._input_indices, inputs, strict=True):
                self._interpreter.set_tensor(index, array)
            self._interpreter.invoke()
            return [self._interpreter.get_tensor(index) for index in self._output_indices]
        except _MODEL_ERRORS as error:
            raise ModelError(
                f"the model failed while running: {_first_line(error)}", reason=Reason.LOAD_FAILED
            ) from error

    def close(self) -> None:
        self._interpreter = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _settle_outputs(self) -> None:
        """Run once where an output's size is not known before: every shape is to be true from the start."""
        if all(len(detail["shape"]) and all(detail["shape"]) for detail in self._interpreter.get_output_details()):
            return
        self.invoke([np.zeros(tensor.shape, tensor.dtype) for tensor in self.inputs])


def open_engine(path: Path, threads: int = 1) -> TfliteEngine:
    """Load a model; the file is mapped, so it must never be written in place while the engine lives.

    Raises:
        ModelError: NOT_A_MODEL, UNSUPPORTED_OPERATOR, MISSING_DELEGATE, LOAD_FAILED.
        ConfigError: there is no interpreter that works on this machine.
    """
    described = inspect_model(path)
    broken: list[str] = []
    for library in _libraries(broken):
        try:
            return _load(library, described, threads)
        except _LIBRARY_ERRORS as error:
            broken.append(f"{library.name} does not work here: {_first_line(error)}")
    raise _no_interpreter(broken)


def engine_library() -> Library:
    """The first interpreter that can be imported, or the one the environment names.

    Raises:
        ConfigError: there is none.
    """
    broken: list[str] = []
    for library in _libraries(broken):
        return library
    raise _no_interpreter(broken)


def _libraries(broken: list[str]) -> "list[Library]":
    wanted = os.environ.get(ENGINE_VARIABLE)
    if wanted and wanted not in _MODULES:
        raise ConfigError(f"{ENGINE_VARIABLE} is {wanted!r}; expected {' or '.join(_MODULES)}")
    found: list[Library] = []
    for name in [wanted] if wanted else _MODULES:
        try:
            package = importlib.import_module(_MODULES[name])
            construct = importlib.import_module(f"{_MODULES[name]}.interpreter").Interpreter
        except _LIBRARY_ERRORS as error:
            broken.append(f"{_PACKAGES[name]} cannot be imported: {_first_line(error)}")
        else:
            found.append(Library(f"{_PACKAGES[name]} {getattr(package, '__version__', '')}".strip(), construct))
    return found


def _no_interpreter(broken: list[str]) -> ConfigError:
    return ConfigError(
        "no TensorFlow Lite interpreter works here:\n" + "\n".join(broken),
        hint="install ai-edge-litert; on 32-bit ARM, tflite-runtime with numpy<2",
    )


def _load(library: Library, described: ModelFile, threads: int) -> TfliteEngine:
    try:
        interpreter = library.construct(model_path=str(described.path), num_threads=threads)
        interpreter.allocate_tensors()
        return TfliteEngine(interpreter, library.name, threads)  # reads names, which may not be UTF-8
    except _MODEL_ERRORS as error:
        raise _load_error(described, library, str(error)) from error


def _load_error(described: ModelFile, library: Library, message: str) -> ModelError:
    path, line = described.path, message.strip().partition("\n")[0][:300]
    unsupported = described.unsupported_operators
    if described.needs_edge_tpu:
        return ModelError(
            f"{path} is compiled for the Coral Edge TPU ({EDGE_TPU_OPERATOR}), and no Edge TPU delegate is here",
            reason=Reason.MISSING_DELEGATE,
            hint="use the model as it was before the Edge TPU compiler ran (without _edgetpu in its name)",
        )
    if described.flex_operators:
        return ModelError(
            f"{path} needs TensorFlow's own operators, which no interpreter on a device has: {', '.join(unsupported)}",
            reason=Reason.UNSUPPORTED_OPERATOR,
            hint="convert it without SELECT_TF_OPS, with these operators replaced or done outside of the model",
        )
    if unsupported:
        return ModelError(
            f"{path} needs custom operators that {library.name} does not have: {', '.join(unsupported)}",
            reason=Reason.UNSUPPORTED_OPERATOR,
            hint="end the model before them and do their work outside of it",
        )
    missing = re.search(r"Didn't find op for builtin opcode '(\w+)'|builtin_code out of range: (\d+)", message)
    if missing:
        return ModelError(
            f"{path} needs operator {missing[1] or missing[2]} in a form that {library.name} does not have: {line}",
            reason=Reason.UNSUPPORTED_OPERATOR,
            hint="update the interpreter, or convert the model for an older one",
        )
    if "valid Flatbuffer" in message:
        return ModelError(
            f"{path} is a TensorFlow Lite model, but damaged: {line}",
            reason=Reason.NOT_A_MODEL,
            hint="copy or download it again",
        )
    return ModelError(
        f"{library.name} cannot load {path}: {line}",
        reason=Reason.LOAD_FAILED,
        hint="convert it again with a current converter; it may be for another runtime, such as TFLite Micro",
    )


def _tensor_spec(detail: dict[str, Any]) -> TensorSpec:
    scale, zero_point = detail["quantization"]
    dtype = np.dtype(detail["dtype"])
    quantized = scale != 0 and dtype.kind in "ui"
    return TensorSpec(
        name=str(detail["name"]),
        shape=tuple(int(size) for size in detail["shape"]),
        dtype=dtype,
        quantization=Quantization(float(scale), int(zero_point)) if quantized else None,
    )


def _delegated(interpreter: Any) -> bool:
    """Whether a delegate (XNNPACK, by default) took nodes: they are replaced by one named DELEGATE.

    There is no public way to ask; both interpreters have this one (lab: nodes 2 → 0 without /proc/cpuinfo).
    """
    return any(node["op_name"] == "DELEGATE" for node in interpreter._get_ops_details())  # noqa: SLF001


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0][:300] or type(error).__name__
