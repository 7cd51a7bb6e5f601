"""A source converted, loaded, and held to its framework's answers, as `convert` does before it quantizes."""

from pathlib import Path

import numpy as np
import pytest

from converter.evaluate import Described, describe
from converter.frontends.contract import REFERENCES, Wanted
from converter.source import Source, open_source
from edge_agent.errors import EdgeError
from edge_agent.inference.said import Said
from edge_agent.inference.tflite import open_engine
from edge_agent.transform.tensor import Array


def opened(source: Path, folder: Path, wanted: Wanted | None = None) -> tuple[Source, Described]:
    folder.mkdir(exist_ok=True)
    found = open_source(source, "float32", folder, wanted=wanted)
    assert found.reference is not None
    with np.load(found.reference) as stored:
        answers = [stored[name] for name in stored.files if name.startswith("out:")]
    assert answers
    for answer in answers:  # else agreeing with it says nothing
        assert len(answer) == REFERENCES
        assert not all(np.array_equal(answer[0], other) for other in answer[1:])
    described = describe(
        found.path,
        folder,
        reference=found.reference,
        output_names=found.graph.output_names,
        name=source.name,
        said=Said(signature=wanted.signature if wanted else None),
    )
    return found, described


def answer(model: Path, *inputs: Array) -> list[Array]:
    with open_engine(model) as engine:
        return list(engine.invoke(list(inputs)))


def refused(source: Path, folder: Path, wanted: Wanted | None = None) -> EdgeError:
    """The error, once it is known to have a hint and to be one line of each."""
    folder.mkdir(exist_ok=True)
    with pytest.raises(EdgeError) as caught:
        opened(source, folder, wanted)
    assert caught.value.hint
    assert "Traceback" not in str(caught.value)
    assert "\n" not in f"{caught.value}{caught.value.hint}"
    return caught.value
