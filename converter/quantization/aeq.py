"""ai-edge-quantizer: the only place that imports it, and only in a child process, for it runs the interpreter.

Its defaults are not ours: the moving average it keeps of activation ranges depends on the order of the samples and
clips small tensors, so ranges are the plain minimum and maximum unless somebody hands over better ones. What it does
silently is told by `fates`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from converter.errors import ConversionError, RecipeError
from converter.quantization.matching import matched, operation_of, scope_of
from converter.quantization.rules import SAMPLED_ALGORITHMS, Rule
from converter.tflite_schema import Graph, read_graph
from edge_agent import schema
from edge_agent.transform.tensor import Array

Ranges = Mapping[str, Any]  # activation → {"min": [1], "max": [1]}, as the quantizer keeps them

_THREADS = 2
# What it raises where it meets what it was not made for.
_FOREIGN = (ValueError, RuntimeError, TypeError, KeyError, AttributeError, IndexError, NotImplementedError)


def quantize_by(content: bytes, rules: Sequence[Rule], ranges: Ranges | None) -> bytes:
    """The model as the rules say; `ranges` are those of its activations, where a rule asks for them.

    Raises:
        RecipeError: a rule the quantizer refuses.
        ConversionError: it cannot do with the model what the rules say.
    """
    from ai_edge_quantizer import quantizer

    recipe = _manager(rules).get_quantization_recipe()
    try:
        work = quantizer.Quantizer(content, recipe)
        return bytes(work.quantize(_copied(ranges), enable_progress_report=False).quantized_model)
    except _FOREIGN as error:
        said = (str(error).strip().splitlines() or [""])[0]
        raise ConversionError(
            f"the quantizer cannot do this with the model: {type(error).__name__}: {said}",
            hint="another scheme, or keep the operators it names in float (float_operators)",
        ) from error


def calibrate(content: bytes, rules: Sequence[Rule], samples: Sequence[Sequence[Array]]) -> Ranges:
    """The range of every activation: smallest and largest value over all samples. The model needs a signature.

    Raises:
        ConversionError: activations become NaN or Inf.
    """
    from ai_edge_quantizer import calibrator
    from ai_edge_quantizer.utils import qsv_utils

    graph = read_graph(content)
    fed = [dict(zip(graph.input_names, sample, strict=True)) for sample in samples]
    sampled = any(rule.algorithm_key in SAMPLED_ALGORITHMS for rule in rules)
    modes = calibrator.CalibrationMode
    if sampled:  # they keep figures of their own, which only the slow way collects, and their own way of merging
        work = calibrator.Calibrator(content, num_threads=_THREADS, mode=modes.CALIBRATION_PRESERVE_ALL_TENSORS)
    else:
        work = calibrator.Calibrator(
            content,
            num_threads=_THREADS,
            mode=modes.CALIBRATION_PROFILER_BASED,
            qsv_update_func=qsv_utils.min_max_update,
        )
    work.calibrate({graph.signatures[0].key: fed}, _manager(rules))
    ranges: Ranges = work.get_model_qsvs()
    broken = sorted(
        name
        for name, limits in ranges.items()
        if not all(np.isfinite(limits[end]).all() for end in ("min", "max") if limits and end in limits)
    )
    if broken:  # quantized with these, a model kills the interpreter
        raise ConversionError(
            f"{len(broken)} activations become NaN or Inf on the calibration data: {', '.join(broken[:3])}",
            hint="check the normalization (mean, std) and the data; the float model itself overflows",
        )
    return ranges


def fates(graph: Graph, rules: Sequence[Rule]) -> dict[str, str]:
    """Why each operator that no rule takes stays float, by the name of its first output; the others are left out."""
    manager = _manager(rules)
    positions = [set(matched(rule, graph)) for rule in rules]
    told = {}
    for position, operator in enumerate(graph.operators):
        algorithm, _ = manager.get_quantization_configs(operation_of(operator), scope_of(operator, graph))
        if algorithm != "no_quantize" or not operator.outputs:
            continue
        last = next(
            (rule for rule, at in zip(reversed(rules), reversed(positions), strict=True) if position in at), None
        )
        if last is None:
            why = "no rule takes it"
        elif last.algorithm_key == "no_quantize":
            why = "the recipe keeps it in float"
        else:
            why = "the quantizer has no such form of it"
        told[graph.tensors[operator.outputs[0]].name] = why
    return told


def _manager(rules: Sequence[Rule]) -> Any:
    from ai_edge_quantizer import recipe_manager

    manager = recipe_manager.RecipeManager()
    for number, rule in enumerate(rules):
        try:
            one = recipe_manager.RecipeManager()  # says whether it takes this rule at all
            one.load_quantization_recipe([schema.dump(rule)])
        except ValueError as error:
            raise RecipeError(
                f"rules[{number}] (regex {rule.regex!r}, operation {rule.operation!r}): the quantizer refuses it: "
                f"{str(error).splitlines()[0]}",
                hint="docs/quantization.md says which operators take which form",
            ) from error
    manager.load_quantization_recipe([schema.dump(rule) for rule in rules])
    return manager


def _copied(ranges: Ranges | None) -> Any:
    """The quantizer changes what it is given."""
    return None if ranges is None else {name: dict(limits) for name, limits in ranges.items()}
