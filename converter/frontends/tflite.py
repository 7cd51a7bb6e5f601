"""A `.tflite` as the source: whether it may be converted, and its batch fixed to 1.

Quantizers fail silently on what is refused here (weights that are NaN, models quantized already, several
signatures), so all of it is found before. Whether it loads is left to `evaluate`.
"""

from converter.errors import ConversionError
from converter.recipe import Scheme
from converter.tflite_schema import Graph, fix_batch, read_graph

_VARIABLES = ("VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE")
_NAMED = 3


def normalize(content: bytes, scheme: Scheme, name: str, signature: str | None = None) -> bytes:
    """The model with a batch that is fixed; with scheme `unchanged` the very bytes. `signature`: the one that is run.

    Raises:
        ConversionError: it cannot be converted to `scheme`, with every reason.
    """
    graph = read_graph(content)
    problems = [*_signature_problems(graph, scheme, signature), *_problems(graph)]
    if scheme != "unchanged":
        problems += _float_problems(graph)
    if problems:
        quantized = _quantized(graph) and scheme != "unchanged"
        hint = "pass --scheme unchanged to package it as it is" if quantized else "export it again where it was trained"
        raise ConversionError(f"{name}: {'; '.join(problems)}", hint=hint)
    return content if scheme == "unchanged" else fix_batch(content)


def _signature_problems(graph: Graph, scheme: Scheme, wanted: str | None) -> list[str]:
    """A quantizer takes the first signature for the model; unchanged, any one may be run."""
    keys = [signature.key for signature in graph.signatures]
    listed = ", ".join(keys)
    if wanted is not None and wanted not in keys:
        return [f"it has no signature {wanted!r}; it has {listed or 'none'}"]
    if len(keys) < 2 or (wanted is not None and scheme == "unchanged"):
        return []
    how = "name one" if scheme == "unchanged" else "only scheme unchanged can run one of them"
    return [f"it has {len(keys)} signatures ({listed}), and an artifact runs one: {how}"]


def _problems(graph: Graph) -> list[str]:
    """What no scheme can do with."""
    problems = []
    broken = [tensor.name for tensor in graph.tensors if not tensor.finite]
    if broken:
        problems.append(f"{len(broken)} weights hold NaN or Inf ({', '.join(broken[:_NAMED])})")
    variables = sorted({operator.name for operator in graph.operators} & set(_VARIABLES))
    if variables:
        problems.append(f"its weights are in variables ({', '.join(variables)}), which the export left out")
    return problems


def _float_problems(graph: Graph) -> list[str]:
    problems = []
    quantized = _quantized(graph)
    if quantized:
        problems.append(f"it is quantized already ({', '.join(quantized)}); a float32 model is needed")
    for position in graph.inputs:
        tensor = graph.tensors[position]
        if any(size < 0 for size in tensor.signature[1:]):
            problems.append(f"input {tensor.name} has a size that is not fixed: {list(tensor.signature)}")
    return problems


def _quantized(graph: Graph) -> list[str]:
    """Types of quantized tensors: of a float model there are none. Biases (INT32) go without saying."""
    return sorted({tensor.type for tensor in graph.tensors if tensor.quantized} - {"FLOAT32", "INT32", "INT64"})
