"""From a frozen graph of TensorFlow 1 (`.pb`) to a float32 `.tflite`, in a child process.

The parent finds the inputs and outputs, or those that are named, without TensorFlow; the child cuts the graph there,
fixes the batch to 1, converts, and leaves what a session of TensorFlow answers for the whole graph, fed at the same
tensors. Run as `python -m converter.frontends.frozen FOLDER` by `converter.child`.
"""

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from converter.child import answer_parent, run_child
from converter.errors import ConversionError
from converter.frontends.contract import TIMEOUT_S, Wanted
from converter.frontends.extras import require
from converter.frontends.graph_def import (
    DANGEROUS_OPERATORS,
    FILE_OPERATORS,
    after_files,
    find_ends,
    node_of,
    output_of,
    reachable,
    read_nodes,
)
from converter.frontends.request import from_request, to_request


def convert_frozen(source: Path, folder: Path, wanted: Wanted) -> Mapping[str, str]:
    """Write `TFLITE_NAME` and `REFERENCE_NAME` into `folder`; gives the versions of the tools.

    `wanted.inputs` and `wanted.outputs` are nodes, anywhere in the graph; `NODE:1` is the second output of one.

    Raises:
        ConversionError: the file is cut off, has no node of that name, reads files in the graph, has sizes that are
            open; or TensorFlow's own words.
    """
    nodes = read_nodes(source)
    ends = find_ends(nodes, wanted.inputs, wanted.outputs, source)
    needed = set(reachable(nodes, ends.outputs, ends.inputs)) - {node_of(name) for name in ends.inputs}
    used = {nodes[name].operator for name in needed}
    if used & FILE_OPERATORS:
        raise ConversionError(
            f"{source} decodes files itself ({', '.join(sorted(used & FILE_OPERATORS))}), which no .tflite can",
            hint=f"begin after that, and prepare the input as the graph does: --inputs {','.join(after_files(nodes))}",
        )
    if used & DANGEROUS_OPERATORS:
        raise ConversionError(
            f"{source} reads or writes files or runs Python: {', '.join(sorted(used & DANGEROUS_OPERATORS))}",
            hint="name inputs behind that, and outputs before it: --inputs, --outputs",
        )
    require("keras", "a frozen TensorFlow graph")
    request = {
        "source": str(source.resolve()),
        "inputs": [output_of(name) for name in ends.inputs],
        "outputs": [output_of(name) for name in ends.outputs],
        "wanted": to_request(wanted),
    }
    versions: Mapping[str, str] = run_child(
        __name__, request, folder, what=f"converting {source.name} with TensorFlow", timeout_s=TIMEOUT_S
    )
    return versions


# --- in the child -------------------------------------------------------------------------------------------------


def _convert(folder: Path, request: Mapping[str, Any]) -> Mapping[str, str]:
    import tensorflow as tf

    from converter.frontends.tensorflow import fix_specs, write_model, write_reference

    inputs, outputs, wanted = request["inputs"], request["outputs"], from_request(request["wanted"])
    definition = tf.compat.v1.GraphDef()
    definition.ParseFromString(Path(request["source"]).read_bytes())
    whole = _imported(definition)
    tensors = [whole.get_tensor_by_name(name) for name in inputs]
    names = dict(zip(inputs, _plain(inputs), strict=True))
    specs = fix_specs([(names[tensor.name], tensor.shape, tensor.dtype) for tensor in tensors], _renamed(wanted, names))
    answer_names = _plain(outputs)
    cut = _cut(definition, inputs, outputs)

    def compute(*given: Any) -> Mapping[str, Any]:
        fed = dict(zip(_placeholders(inputs), given, strict=True))
        found = tf.import_graph_def(cut, input_map=fed, return_elements=outputs, name="")
        return dict(zip(answer_names, found, strict=True))

    write_model(folder, compute, specs)
    with closing(tf.compat.v1.Session(graph=whole)) as session:  # entered itself, it would be where constants go

        def answer(*given: Any) -> Mapping[str, Any]:
            feed = {tensor: value.numpy() for tensor, value in zip(tensors, given, strict=True)}
            return dict(zip(answer_names, session.run(outputs, feed), strict=True))

        write_reference(folder, answer, specs)
    return {"tensorflow": tf.__version__}


def _imported(definition: Any) -> Any:
    import tensorflow as tf

    from converter.frontends.tensorflow import unloadable

    graph = tf.Graph()
    try:
        with graph.as_default():
            tf.import_graph_def(definition, name="")
    except (ValueError, TypeError, KeyError, tf.errors.OpError) as error:
        raise unloadable(error, "TensorFlow cannot read the graph", "freeze it again where it was trained") from error
    return graph


def _cut(definition: Any, inputs: Sequence[str], outputs: Sequence[str]) -> Any:
    """The graph between these tensors, a placeholder in the place of each input."""
    import tensorflow as tf

    given = dict(zip(inputs, _placeholders(inputs), strict=True))
    by_name = {node.name: node for node in definition.node}
    cut = tf.compat.v1.GraphDef(library=definition.library, versions=definition.versions)
    waiting, seen = [node_of(name) for name in outputs], set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        node = cut.node.add()
        node.CopyFrom(by_name[name])
        del node.input[:]
        for taken in by_name[name].input:
            if taken.startswith("^"):
                continue  # order and assertions
            placeholder = given.get(output_of(taken))
            node.input.append(placeholder or taken)
            if placeholder is None:
                waiting.append(node_of(taken))
    for tensor, name in given.items():
        kind = _imported(definition).get_tensor_by_name(tensor).dtype
        cut.node.add(name=name, op="Placeholder").attr["dtype"].type = kind.as_datatype_enum
    return cut


def _placeholders(inputs: Sequence[str]) -> list[str]:
    return [f"edge_input_{number}" for number in range(len(inputs))]


def _plain(tensors: Sequence[str]) -> list[str]:
    """Names that a signature can have."""
    from converter.frontends.tensorflow import plain_name

    found = [plain_name(name) for name in tensors]
    return [name if found.count(name) == 1 else f"{name}_{index}" for index, name in enumerate(found)]


def _renamed(wanted: Wanted, names: Mapping[str, str]) -> Wanted:
    """Shapes are given for the graph's names."""
    shapes = {names.get(output_of(name), name) if name else name: shape for name, shape in wanted.input_shapes.items()}
    return Wanted(input_shapes=shapes)


if __name__ == "__main__":
    answer_parent("converter.frontends.frozen", _convert)
