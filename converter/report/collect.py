"""What a report is made of, put together once a conversion is through: the finished parts, layers, changed answers."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from converter.changed import read_changed
from converter.errors import ConversionError
from converter.evaluation.evaluation import Evaluation
from converter.layers import LAYER_SAMPLES, compare_layers
from converter.package import Parts, build_manifest
from converter.report.page import Report
from converter.report.sections import Sections
from converter.samples import Dataset, spread
from edge_agent import schema
from edge_agent.release.manifest import MODEL_FILE
from edge_agent.transform.tensor import TensorSpec

# Told in places of their own.
_OWN_PLACES = ("recipe", "fidelity")


def collect_sections(
    float_model: Path, converted: Path, dataset: Dataset, inputs: Sequence[TensorSpec], folder: Path
) -> Sections:
    """Compare the layers on some of the samples, and take what the comparison of the models has left in `folder`.

    A report is no reason to fail: where layers cannot be compared, they are left out. `inputs` are the float model's.
    """
    changed = read_changed(folder)
    chosen = set(spread(len(dataset.names), LAYER_SAMPLES))
    samples = [sample for number, sample in enumerate(dataset.inputs(inputs)) if number in chosen]
    try:
        layers = compare_layers(float_model, converted, samples, folder)
    except ConversionError:
        return Sections(changed=changed)
    return Sections(layers.errors, layers.ranges, changed=changed)


def with_evaluation(sections: Sections, evaluation: Evaluation) -> Sections:
    """The sections with what labeled data tells. Where its answers did not change, those of other data stay."""
    filled = evaluation.fill(sections)
    between = {"comparison": evaluation.comparison} if evaluation.comparison is not None else {}
    return replace(filled, changed=filled.changed or sections.changed, evaluation={**filled.evaluation, **between})


def report_of(parts: Parts, sections: Sections, *, refused: str | None = None) -> Report:
    """The report of finished parts; `refused` is what the gate said."""
    assert parts.fidelity is not None
    manifest = build_manifest(parts, {MODEL_FILE: parts.model})
    return Report(
        name=parts.name,
        version=parts.version,
        task=parts.task,
        fidelity=parts.fidelity,
        sections=sections,
        notes=parts.notes,
        limits=schema.dump(manifest.limits),
        recipe=manifest.provenance["recipe"],
        provenance={name: value for name, value in manifest.provenance.items() if name not in _OWN_PLACES},
        refused=refused,
    )


def report_of_search(parts: Parts, sections: Sections, *, refused: str) -> Report:
    """The report of a search that found nothing, for whoever has to choose another limit: what was tried, and why not.

    `parts` hold the float model; `refused` is what the search said.
    """
    manifest = build_manifest(parts, {MODEL_FILE: parts.model})
    return Report(
        name=parts.name,
        version=parts.version,
        task=parts.task,
        fidelity=None,
        sections=sections,
        notes=parts.notes,
        limits={},  # of a device, to which nothing goes
        recipe=manifest.provenance["recipe"],
        provenance={name: value for name, value in manifest.provenance.items() if name not in _OWN_PLACES},
        refused=refused,
    )
