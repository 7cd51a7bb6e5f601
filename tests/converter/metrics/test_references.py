"""Our metrics give what pycocotools and scikit-learn give, to rounding.

Their figures are stored in `references.json`; `python -m tests.frontends.metric_references` made it.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converter.metrics import classes, regression, roc
from converter.metrics.objects import Evaluated
from tests.converter.metrics import scenes

REFERENCES: dict[str, Any] = json.loads((Path(__file__).parent / "references.json").read_text(encoding="utf-8"))


def test_average_precision_of_boxes_is_that_of_pycocotools() -> None:
    expected = REFERENCES["boxes"]
    assert Evaluated(scenes.pictures_with_boxes()).summary() == pytest.approx(expected, abs=1e-9)
    assert len({expected["mar_1"], expected["mar_10"], expected["mar_100"]}) == 3  # every limit is felt


def test_average_precision_of_keypoints_is_that_of_pycocotools() -> None:
    evaluated = Evaluated(scenes.pictures_with_poses(), "keypoints")
    assert evaluated.summary() == pytest.approx(REFERENCES["keypoints"], abs=1e-9)


def test_precision_recall_and_f1_are_those_of_scikit_learn() -> None:
    given, expected = scenes.answers(), REFERENCES["classes"]
    matrix = classes.confusion(given.truth, given.scores.argmax(axis=1), 7)
    each = classes.per_class(matrix)
    assert matrix.tolist() == expected["confusion"]
    for name in ("precision", "recall", "f1"):
        assert getattr(each, name).tolist() == pytest.approx(expected[name])
    assert list(classes.macro(matrix).values()) == pytest.approx(expected["macro"])
    assert classes.micro(matrix)["f1"] == pytest.approx(expected["accuracy"])


def test_top_k_accuracy_is_that_of_scikit_learn() -> None:
    given = scenes.answers()
    assert classes.in_top(given.scores[:, :6], given.truth, 3).mean() == pytest.approx(REFERENCES["classes"]["top_3"])


def test_the_area_under_the_curve_is_that_of_scikit_learn() -> None:
    given, expected = scenes.answers(), REFERENCES["classes"]
    assert roc.area(given.scores[:, 0], given.truth == 0) == pytest.approx(expected["roc_auc_binary"])
    assert roc.area_of_classes(given.scores, given.truth) == pytest.approx(expected["roc_auc"])


def test_errors_of_a_regression_are_those_of_scikit_learn() -> None:
    given, expected = scenes.answers(), REFERENCES["regression"]
    assert regression.absolute_error(given.measured, given.told).tolist() == pytest.approx(expected["mae"])
    assert regression.root_squared_error(given.measured, given.told).tolist() == pytest.approx(expected["rmse"])
    assert regression.r_squared(given.measured, given.told).tolist() == pytest.approx(expected["r2"])


def test_weights_count_samples_as_often_as_repeating_them_does() -> None:
    """What the bootstrap rests on."""
    given = scenes.answers()
    times = np.random.default_rng(0).integers(0, 3, len(given.truth))
    repeated = np.repeat(np.arange(len(given.truth)), times)
    weights = times.astype(np.float64)
    positive = given.truth == 0
    by_weight = roc.area(given.scores[:, 0], positive, weights)
    assert by_weight == pytest.approx(roc.area(given.scores[repeated, 0], positive[repeated]))
    r2 = regression.r_squared(given.measured, given.told, weights)
    assert r2.tolist() == pytest.approx(regression.r_squared(given.measured[repeated], given.told[repeated]).tolist())
    pictures = scenes.pictures_with_boxes(20)
    often = np.random.default_rng(1).integers(0, 3, len(pictures))
    again = [picture for picture, count in zip(pictures, often, strict=True) for _ in range(count)]
    weighted = Evaluated(pictures).precision(weights=often.astype(np.float64))
    # equal scores of different pictures are ranked by their order: a little is allowed for it
    assert weighted == pytest.approx(Evaluated(again).precision(), abs=0.01)
