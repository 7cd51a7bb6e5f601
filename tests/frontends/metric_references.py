"""What pycocotools and scikit-learn make of the made-up answers.

`python -m tests.frontends.metric_references` writes it beside the tests that hold our metrics to it, so that these
need neither library.
"""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from sklearn import metrics

from converter.metrics.objects import Picture
from tests.converter.metrics import scenes

PATH = Path(__file__).parents[1] / "converter" / "metrics" / "references.json"
_BOXES = (
    "map", "map_50", "map_75", "map_small", "map_medium", "map_large", "mar_1", "mar_10", "mar_100", "mar_small",
    "mar_medium", "mar_large",
)  # fmt: skip
_POSES = (
    "map", "map_50", "map_75", "map_medium", "map_large", "mar", "mar_50", "mar_75", "mar_medium", "mar_large",
)  # fmt: skip


def references() -> dict[str, Any]:
    return {
        "boxes": coco(scenes.pictures_with_boxes(), "bbox"),
        "keypoints": coco(scenes.pictures_with_poses(), "keypoints"),
        "classes": _classes(),
        "regression": _regression(),
    }


def coco(pictures: list[Picture], kind: str) -> dict[str, float | None]:
    """The figures that COCOeval summarizes, by our names."""
    categories = [{each.category for each in picture.true} for picture in pictures]
    told = [{each.category for each in picture.found} for picture in pictures]
    names = sorted(set().union(*categories, *told))
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for image, picture in enumerate(pictures, start=1):
        for true in picture.true:
            left, top, right, bottom = true.box
            annotation: dict[str, Any] = {
                "id": len(annotations) + 1, "image_id": image, "category_id": names.index(true.category) + 1,
                "bbox": [left, top, right - left, bottom - top], "area": true.area, "iscrowd": int(true.crowd),
            }  # fmt: skip
            if true.keypoints is not None:
                annotation["keypoints"] = true.keypoints.reshape(-1).tolist()
                annotation["num_keypoints"] = int((true.keypoints[:, 2] > 0).sum())
            annotations.append(annotation)
        for found in picture.found:
            left, top, right, bottom = found.box
            result: dict[str, Any] = {
                "image_id": image, "category_id": names.index(found.category) + 1, "score": found.score,
            }  # fmt: skip
            if found.keypoints is None:
                result["bbox"] = [left, top, right - left, bottom - top]
            else:
                result["keypoints"] = found.keypoints.reshape(-1).tolist()
            results.append(result)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "images": [{"id": image} for image in range(1, len(pictures) + 1)],
            "categories": [{"id": number, "name": name} for number, name in enumerate(names, start=1)],
            "annotations": annotations,
        }
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    figures = (None if value < 0 else float(value) for value in evaluation.stats)
    return dict(zip(_BOXES if kind == "bbox" else _POSES, figures, strict=True))


def _classes() -> dict[str, Any]:
    given = scenes.answers()
    found = given.scores.argmax(axis=1)
    seen = np.union1d(given.truth, found)
    each = metrics.precision_recall_fscore_support(given.truth, found, labels=range(7), zero_division=0)
    mean = metrics.precision_recall_fscore_support(given.truth, found, labels=seen, average="macro", zero_division=0)
    shares = given.scores[:, :6] / given.scores[:, :6].sum(axis=1, keepdims=True)
    areas = [metrics.roc_auc_score(given.truth == index, given.scores[:, index]) for index in range(6)]
    return {
        "accuracy": metrics.accuracy_score(given.truth, found),
        "top_3": metrics.top_k_accuracy_score(given.truth, shares, k=3),
        "precision": each[0].tolist(),
        "recall": each[1].tolist(),
        "f1": each[2].tolist(),
        "macro": [float(value) for value in mean[:3]],
        "confusion": metrics.confusion_matrix(given.truth, found, labels=range(7)).tolist(),
        "roc_auc": float(np.mean(areas)),
        "roc_auc_binary": float(metrics.roc_auc_score(given.truth == 0, given.scores[:, 0])),
    }


def _regression() -> dict[str, Any]:
    given = scenes.answers()
    return {
        "mae": metrics.mean_absolute_error(given.measured, given.told, multioutput="raw_values").tolist(),
        "rmse": metrics.root_mean_squared_error(given.measured, given.told, multioutput="raw_values").tolist(),
        "r2": metrics.r2_score(given.measured, given.told, multioutput="raw_values").tolist(),
    }


if __name__ == "__main__":
    PATH.write_text(json.dumps(references(), indent=1) + "\n", encoding="utf-8")
