"""What the children of all TensorFlow front-ends do alike: a function of TensorFlow made a float32 `.tflite`.

The weights are frozen into constants before the converter sees them: left as variables that a SavedModel does not
track, it leaves them out without a word. Only imported in a child process; whether the result answers as TensorFlow
does is left to `evaluate`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from converter.errors import ConversionError
from converter.frontends.contract import REFERENCE_NAME, REFERENCES, TFLITE_NAME, Wanted
from converter.frontends.graph_def import DANGEROUS_OPERATORS
from converter.frontends.sizes import Declared, fix_sizes

Function = Callable[..., Mapping[str, Any]]  # tensors in the order of the inputs → answers by name
_SAVED = "exported"
_NAMED = 5


def fix_specs(declared: Sequence[tuple[str, Any, Any]], wanted: Wanted) -> list[Any]:
    """Specifications with a batch of 1 and whole shapes, of inputs as (name, `tf.TensorShape`, dtype).

    Raises:
        ConversionError: a size that nobody states, or a type that no `.tflite` takes.
    """
    unknown = [name for name, shape, _ in declared if shape.rank is None and not _is_given(name, declared, wanted)]
    if unknown:
        raise ConversionError(
            f"input {', '.join(unknown)} has no shape in the model",
            hint=f"state it: --input-shape {unknown[0]}=1xSIZExSIZE",
        )
    for name, _, dtype in declared:
        check_type(name, dtype)
    ends = [Declared(name, _sizes(shape, wanted), np.dtype(dtype.as_numpy_dtype)) for name, shape, dtype in declared]
    shapes = fix_sizes(ends, wanted.input_shapes)
    return [tf.TensorSpec(shapes[name], dtype, name=name) for name, _, dtype in declared]


def check_type(name: str, dtype: Any) -> None:
    """Raises:
    ConversionError: text, numbers of 64 bits with a point, complex ones.
    """
    if dtype == tf.string:
        raise ConversionError(
            f"input {name} is text or a whole file, which the model decodes itself; a .tflite takes numbers",
            hint="name a later tensor with --inputs, or the numeric signature with --signature",
        )
    if dtype in (tf.float64, tf.complex64, tf.complex128, tf.resource, tf.variant):
        raise ConversionError(
            f"input {name} is {dtype.name}; the TFLite kernels compute in float32",
            hint="cast it to float32 in the model, and export it again",
        )


def write_model(folder: Path, function: Function, specs: Sequence[Any], signature: str = "serving_default") -> None:
    """Write `TFLITE_NAME`: `function` frozen and converted, its ends named as `specs` and its answers are.

    Raises:
        ConversionError: operators without a kernel, or that reach out of the graph; or TensorFlow's own words.
    """
    traced = tf.function(function).get_concrete_function(*specs)
    check_operators(traced.graph.as_graph_def())
    names = sorted(traced.structured_outputs)
    for name in names:
        if traced.structured_outputs[name].dtype == tf.string:
            raise ConversionError(
                f"output {name} is text; a .tflite gives numbers",
                hint=f"name others with --outputs: {', '.join(names)}",
            )
    frozen = convert_variables_to_constants_v2(traced, lower_control_flow=False)

    def answer(*inputs: Any) -> Mapping[str, Any]:
        flat = tf.nest.flatten(frozen(*inputs))  # a dictionary's values come out by sorted keys
        return dict(zip(names, map(tf.identity, flat), strict=True))

    module = tf.Module()
    module.answer = tf.function(answer, input_signature=list(specs))
    concrete = module.answer.get_concrete_function()
    tf.saved_model.save(module, str(folder / _SAVED), signatures={signature: concrete})
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / _SAVED), signature_keys=[signature])
    try:
        content = converter.convert()
    except Exception as error:  # the class is private to TensorFlow, which raises it for all it cannot convert
        if type(error).__name__ != "ConverterError":
            raise
        raise unconvertible(error) from error
    (folder / TFLITE_NAME).write_bytes(content)


def write_reference(folder: Path, answer: Function, specs: Sequence[Any]) -> None:
    """Write `REFERENCE_NAME`: what the framework itself answers to made-up inputs."""
    generator = np.random.default_rng(0)
    samples = [[_made_up(generator, spec) for spec in specs] for _ in range(REFERENCES)]
    answers = [answer(*map(tf.constant, sample)) for sample in samples]
    arrays: dict[str, Any] = {
        f"in:{spec.name}": np.stack([sample[number] for sample in samples]) for number, spec in enumerate(specs)
    }
    for name in answers[0]:
        arrays[f"out:{name}"] = np.stack([np.asarray(given[name]) for given in answers])
    np.savez(folder / REFERENCE_NAME, **arrays)


def check_operators(graph: Any) -> None:
    """Raises:
    ConversionError: operators of a `GraphDef` that read or write files, or run Python.
    """
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    found = sorted({node.op for node in nodes} & DANGEROUS_OPERATORS)
    if found:
        raise ConversionError(
            f"the model reads or writes files or runs Python: {', '.join(found)}",
            hint="export only what computes the answer",
        )


def plain_name(name: str) -> str:
    """A tensor's name as a signature can have it."""
    return re.sub(r"\W", "_", name.removesuffix(":0"))


def unconvertible(error: Exception) -> ConversionError:
    """What TensorFlow's converter raised, in one line."""
    text = str(error)
    operators = sorted(set(re.findall(r"'?tf\.(\w+)'? (?:op|\()", text)) | set(re.findall(r"\bFlex(\w+)", text)))
    if operators:
        listed = ", ".join(operators[:_NAMED])
        return ConversionError(
            f"there is no TFLite kernel for {listed}",
            hint="replace the layers that use them (Custom and Flex operators run on no device of ours), "
            "or leave them out with --inputs and --outputs",
        )
    return ConversionError(
        f"TensorFlow cannot convert it: {first_line(error)}", hint="export the model as .tflite where it was trained"
    )


def unloadable(error: Exception, what: str, hint: str) -> ConversionError:
    """What TensorFlow or Keras raised on loading, in one line."""
    operator = re.search(r"Op type not registered '(\w+)'", str(error))
    if operator:
        return ConversionError(
            f"TensorFlow has no operator {operator[1]}: it is a custom one, which no device has either",
            hint="leave it out with --inputs and --outputs, or replace it where the model is made",
        )
    return ConversionError(f"{what}: {first_line(error)}", hint=hint)


def first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _is_given(name: str, declared: Sequence[tuple[str, Any, Any]], wanted: Wanted) -> bool:
    return name in wanted.input_shapes or ("" in wanted.input_shapes and len(declared) == 1)


def _sizes(shape: Any, wanted: Wanted) -> tuple[int | None, ...]:
    """Of a shape that is not known, as many open sizes as are given."""
    if shape.rank is not None:
        return tuple(shape.as_list())
    return (None,) * max(map(len, wanted.input_shapes.values()))


def _made_up(generator: Any, spec: Any) -> Any:
    dtype = np.dtype(spec.dtype.as_numpy_dtype)
    if dtype.kind in "ui":
        # 0 and 1 are in the range of every vocabulary.
        return generator.integers(0, 256 if dtype.itemsize == 1 else 2, tuple(spec.shape)).astype(dtype)
    if dtype.kind == "b":
        return generator.random(tuple(spec.shape)) > 0.5
    return generator.random(tuple(spec.shape), np.float32).astype(dtype)
