"""The TensorFlow Lite engine: the only place that imports an interpreter.

LiteRT is preferred; tflite-runtime is the one for 32-bit ARM. Whether a library works is only known by constructing:
tflite-runtime imports under NumPy 2 and then fails. What an interpreter raises becomes a `ModelError` here. Running is
left to `interpreter`, what an external delegate lacks to `delegates`, how many threads are worth it to `threads`.
"""

import importlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edge_agent.clock import SystemClock
from edge_agent.config.pipeline import Delegate, Threads
from edge_agent.errors import ConfigError, ModelError, Reason
from edge_agent.inference.delegates import Problem, preflight
from edge_agent.inference.engine import EngineReport
from edge_agent.inference.interpreter import (
    MODEL_ERRORS,
    MainGraph,
    SignatureGraph,
    TfliteEngine,
    count_partitions,
    first_line,
)
from edge_agent.inference.model_file import ModelFile, inspect_model
from edge_agent.inference.operators import EDGE_TPU_OPERATOR
from edge_agent.inference.threads import choose, measure, usable_cores

__all__ = ["ENGINE_VARIABLE", "Library", "TfliteEngine", "engine_library", "open_engine"]

ENGINE_VARIABLE = "EDGE_DEPLOY_ENGINE"  # litert or tflite-runtime; unset: the first that works
_MODULES = {"litert": "ai_edge_litert", "tflite-runtime": "tflite_runtime"}
_PACKAGES = {"litert": "ai-edge-litert", "tflite-runtime": "tflite-runtime"}
# What says that the library itself does not work here.
_LIBRARY_ERRORS = (ImportError, AttributeError, SystemError)


@dataclass(frozen=True, slots=True)
class Library:
    """An interpreter that can be imported. `construct` takes model_path, num_threads and experimental_delegates."""

    name: str  # "ai-edge-litert 2.3.0"
    construct: Callable[..., Any]
    module: Any  # it also has load_delegate


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is to be loaded, and how."""

    model: ModelFile
    signature: str | None
    delegate: Delegate | None
    fell_back: str | None = None


class _DelegateError(Exception):
    """The external delegate, and not the model, keeps an interpreter from being made."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


def open_engine(
    path: Path,
    threads: Threads = 1,
    *,
    delegate: Delegate | None = None,
    signature: str | None = None,
    cores: int | None = None,
) -> TfliteEngine:
    """Load a model; the file is mapped, so it must never be written in place while the engine lives.

    `threads` auto: measured, with at most `cores` of the cores this process may use. `signature` None: the main graph,
    its tensors by their own names.

    Raises:
        ModelError: NOT_A_MODEL, UNSUPPORTED_OPERATOR, MISSING_DELEGATE, INCOMPATIBLE (no such signature), LOAD_FAILED.
        ConfigError: there is no interpreter that works on this machine.
    """
    model = inspect_model(path)
    _check_signature(model, signature)
    plan = _after_preflight(_Plan(model, signature, delegate))
    broken: list[str] = []
    for library in _libraries(broken):
        try:
            return _open(library, plan, threads, cores)
        except _LIBRARY_ERRORS as error:
            broken.append(f"{library.name} does not work here: {first_line(error)}")
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
            module = importlib.import_module(f"{_MODULES[name]}.interpreter")
            construct = module.Interpreter
        except _LIBRARY_ERRORS as error:
            broken.append(f"{_PACKAGES[name]} cannot be imported: {first_line(error)}")
        else:
            title = f"{_PACKAGES[name]} {getattr(package, '__version__', '')}".strip()
            found.append(Library(title, construct, module))
    return found


def _no_interpreter(broken: list[str]) -> ConfigError:
    return ConfigError(
        "no TensorFlow Lite interpreter works here:\n" + "\n".join(broken),
        hint="install ai-edge-litert; on 32-bit ARM, tflite-runtime with numpy<2",
    )


def _check_signature(model: ModelFile, signature: str | None) -> None:
    keys = [known.key for known in model.signatures]
    if signature is not None and signature not in keys:
        raise ModelError(
            f"{model.path} has no signature {signature!r}; it has {', '.join(keys) or 'none'}",
            reason=Reason.INCOMPATIBLE,
            hint="name one of these, or none to run the main graph",
        )


def _after_preflight(plan: _Plan) -> _Plan:
    problem = preflight(plan.delegate, plan.model) if plan.delegate else None
    return _without_delegate(plan, problem) if problem else plan


def _without_delegate(plan: _Plan, problem: Problem) -> _Plan:
    """The same on the CPU, where that is allowed.

    Raises:
        ModelError: MISSING_DELEGATE, it is not.
    """
    assert plan.delegate is not None
    if not plan.delegate.fallback:
        raise ModelError(problem.detail, reason=Reason.MISSING_DELEGATE, hint=problem.hint)
    return replace(plan, delegate=None, fell_back=problem.detail)


def _open(library: Library, plan: _Plan, threads: Threads, cores: int | None) -> TfliteEngine:
    try:
        return _with_threads(library, plan, threads, cores)
    except _DelegateError as error:
        return _with_threads(library, _without_delegate(plan, error.problem), threads, cores)


def _with_threads(library: Library, plan: _Plan, threads: Threads, cores: int | None) -> TfliteEngine:
    if threads != "auto":
        return _load(library, plan, threads)
    usable = usable_cores(cores)
    if usable == 1:
        return _load(library, plan, 1)
    figures = measure(lambda number: _load(library, plan, number), usable, SystemClock())
    engine = _load(library, plan, choose(figures.p50_ms))
    engine.report = replace(engine.report, measured=figures)
    return engine


def _load(library: Library, plan: _Plan, threads: int) -> TfliteEngine:
    try:
        interpreter, taken = _construct(library, plan, threads)
        graph = (
            MainGraph(interpreter)
            if plan.signature is None
            else SignatureGraph(interpreter.get_signature_runner(plan.signature))
        )
        partitions, within, operators = count_partitions(interpreter)
        report = EngineReport(
            library=library.name,
            threads=threads,
            delegated=partitions > 0,
            partitions=partitions,
            delegated_operators=within,
            operators=operators,
            delegate=plan.delegate.library if plan.delegate else None,
            fell_back=plan.fell_back,
            detection_classes=plan.model.detection_classes,
        )
        engine = TfliteEngine(interpreter, graph, report)  # reads names, which may not be UTF-8
    except (*MODEL_ERRORS, ModelError) as error:
        if plan.delegate is not None:
            _load(library, replace(plan, delegate=None), threads).close()  # is it the model's fault?
            raise _DelegateError(_refused(plan.delegate, " ".join(str(error).split())[:300])) from error
        if isinstance(error, ModelError):
            raise
        raise _load_error(plan, library, str(error)) from error
    if plan.delegate is not None and taken == 0:
        engine.close()
        raise _DelegateError(_refused(plan.delegate, f"it took none of the {operators} operators of the model"))
    return engine


def _construct(library: Library, plan: _Plan, threads: int) -> tuple[Any, int]:
    """The interpreter, and how many pieces of the graph the external delegate took: XNNPACK takes its own later."""
    options: dict[str, Any] = {"model_path": str(plan.model.path), "num_threads": threads}
    if plan.delegate is not None:
        options["experimental_delegates"] = [
            library.module.load_delegate(plan.delegate.library, dict(plan.delegate.options))
        ]
    interpreter = library.construct(**options)
    taken = count_partitions(interpreter)[0] if plan.delegate is not None else 0
    interpreter.allocate_tensors()
    return interpreter, taken


def _refused(delegate: Delegate, why: str) -> Problem:
    return Problem(
        f"delegate {delegate.library} failed: {why}",
        "check its options and whether it runs such models; fallback = true runs the model on the CPU instead",
    )


def _load_error(plan: _Plan, library: Library, message: str) -> ModelError:
    described = plan.model
    path, line = described.path, message.strip().partition("\n")[0][:300]
    unsupported = described.unsupported_operators
    if described.needs_edge_tpu:
        return ModelError(
            f"{path} is compiled for the Coral Edge TPU ({EDGE_TPU_OPERATOR}), and no Edge TPU delegate is in use"
            + (f": {plan.fell_back}" if plan.fell_back else ""),
            reason=Reason.MISSING_DELEGATE,
            hint="give delegate libedgetpu.so.1, or the model as it was before the Edge TPU compiler ran (without "
            "_edgetpu in its name)",
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
