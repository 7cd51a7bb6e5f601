"""The finished model with what its manifest says written into it too, for those who read no manifest."""

from dataclasses import replace
from pathlib import Path

from converter.package import Parts, build_manifest
from converter.tflite_embed import embed
from converter.tflite_metadata import format_metadata, stored_spec
from converter.tflite_schema import read_graph
from edge_agent.inference.model_file import inspect_model
from edge_agent.release.manifest import LABELS_FILE, MODEL_FILE
from edge_agent.tasks.labels import format_labels


def with_metadata(parts: Parts, source: Path, folder: Path) -> Parts:
    """The parts with metadata and labels in the model; as they are where the model has no room for any (`embed`).

    `source` is the model it was made from, `folder` for a file that is needed on the way.

    Raises:
        ConversionError: the model is damaged.
    """
    path = folder / "metadata.tflite"
    path.write_bytes(parts.model)
    graph, stored = read_graph(parts.model), inspect_model(path)
    content = format_metadata(
        build_manifest(parts, {MODEL_FILE: parts.model}),
        parts.labels,
        inputs=[stored_spec(tensor) for tensor in stored.inputs],
        outputs=[stored_spec(tensor) for tensor in stored.outputs],
        input_names=graph.input_names,
        output_names=graph.output_names,
        source=inspect_model(source),
    )
    files = {LABELS_FILE: format_labels(parts.labels)} if parts.labels else {}
    model = embed(parts.model, content, files)
    return replace(parts, model=model) if model is not None else parts
