"""Our metrics against pycocotools and scikit-learn themselves: what is stored is what they give today."""

import json

import numpy as np
import pytest

pytest.importorskip("pycocotools")
pytest.importorskip("sklearn")

from tests.frontends import metric_references


def test_the_stored_references_are_what_the_libraries_give() -> None:
    stored = json.loads(metric_references.PATH.read_text(encoding="utf-8"))
    found = json.loads(json.dumps(metric_references.references()))
    assert found.keys() == stored.keys()
    for group, figures in stored.items():
        for name, value in figures.items():
            assert np.asarray(found[group][name]) == pytest.approx(np.asarray(value), abs=1e-12), f"{group}.{name}"
