"""Which operators of a model the rules of a recipe match, and that each matches one.

The quantizer passes silently over a rule that matches nothing; here that is an error.
"""

import re
from collections.abc import Iterable, Iterator, Sequence

from converter.errors import RecipeError
from converter.quantization.rules import ENDS, EVERYTHING, Rule
from converter.tflite_schema import Graph, Operator

# The quantizer's name for an operator → TFLite's, where they differ.
_OTHER_NAMES = {"CONV_2D_TRANSPOSE": "TRANSPOSE_CONV", "CUSTOM_OP": "CUSTOM"}


def exactly(operator: Operator, graph: Graph) -> str:
    """The expression that matches this one operator."""
    return f"^{re.escape(scope_of(operator, graph))}$"


def scope_of(operator: Operator, graph: Graph) -> str:
    """What the regex of a rule is searched in (ai-edge-quantizer 0.10, `tfl_flatbuffer_utils.get_op_scope`)."""
    named = [graph.tensors[position].name for position in operator.outputs if position >= 0]
    named = named or [graph.tensors[position].name for position in operator.inputs if position >= 0]
    return "".join(f"{name};" for name in named if name)


def check_operators(names: Iterable[str], graph: Graph) -> None:
    """Hold the names of `float_operators` to those of the model.

    Raises:
        RecipeError: the model has no such operator.
    """
    present = {operation_of(operator) for operator in graph.operators}
    for name in names:
        if name not in present and name not in ENDS:
            raise RecipeError(
                f"float_operators: the model has no {name}; it has {', '.join(sorted(present))}",
                hint="take it out of float_operators",
            )


def check_rules(rules: Sequence[Rule], graph: Graph, *, where: str) -> None:
    """Hold rules that somebody wrote to the model they are for.

    Raises:
        RecipeError: with every rule that matches no operator of it; the quantizer passes over those silently.
    """
    idle = [f"rules[{number}] ({_told(rule)})" for number, rule in enumerate(rules) if not any(matched(rule, graph))]
    if idle:
        present = sorted({operation_of(operator) for operator in graph.operators})
        raise RecipeError(
            f"{where}: {len(idle)} of {len(rules)} rules match no operator of this model: {'; '.join(idle)}",
            hint=f"it has {', '.join(present)}; a regex is searched in the names of an operator's outputs, "
            "which 'edgectl inspect' shows",
        )


def matched(rule: Rule, graph: Graph) -> Iterator[int]:
    """Positions of the operators a rule matches. The ends of the model are told by their tensors' positions below 0."""
    if rule.operation in (*ENDS, EVERYTHING):
        ends = {"INPUT": graph.inputs, "OUTPUT": graph.outputs}
        positions = ends.get(rule.operation, (*graph.inputs, *graph.outputs))
        yield from (-1 - tensor for tensor in positions if re.search(rule.regex, f"{graph.tensors[tensor].name};"))
    for position, operator in enumerate(graph.operators):
        if rule.operation not in (EVERYTHING, operation_of(operator)):
            continue
        if re.search(rule.regex, scope_of(operator, graph)):
            yield position


def operation_of(operator: Operator) -> str:
    """What the quantizer calls an operator."""
    for theirs, tflite in _OTHER_NAMES.items():
        if operator.name == tflite:
            return theirs
    return operator.name


def _told(rule: Rule) -> str:
    return f"regex {rule.regex!r}, operation {rule.operation!r}"
