"""An evaluation as lines on the terminal."""

from collections.abc import Mapping
from typing import Any

from converter.evaluation.evaluation import Evaluation
from edge_agent.errors import counted

_SHOWN_CLASSES = 12
_SHARES = {"accuracy", "top_5", "roc_auc", "map", "map_50", "map_75", "mar_100", "mar", "miou", "mean_dice"}
_TITLES = {
    "accuracy": "accuracy", "top_5": "top-5 accuracy", "roc_auc": "ROC-AUC", "calibration_error": "calibration error",
    "map": "mAP@[.5:.95]", "map_50": "mAP@.5", "map_75": "mAP@.75", "map_small": "mAP small", "map_medium":
    "mAP medium", "map_large": "mAP large", "mar_100": "mAR, 100 objects", "mar": "mAR", "pck_0.2": "PCK@0.2",
    "miou": "mIoU", "mean_dice": "mean Dice", "pixel_accuracy": "pixel accuracy", "mae": "MAE", "rmse": "RMSE",
    "r2": "R²",
}  # fmt: skip
_MEANS = ("precision", "recall", "f1")


def format_evaluation(evaluation: Evaluation) -> str:
    """A table of all figures, one column for each model; then the difference; then classes."""
    names = list(evaluation.figures)
    rows = [["", *names]]
    for key, title in _TITLES.items():
        if any(key in figures for figures in evaluation.figures.values()):
            cells = [_cell(figures.get(key), figures.get(f"{key}_interval")) for figures in evaluation.figures.values()]
            rows.append([title, *cells])
    for group in ("macro", "threshold", "best_threshold"):
        rows += _group_rows(group, list(evaluation.figures.values()))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [counted(evaluation.samples, "sample")]
    lines += ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines += [format_difference(evaluation)] if evaluation.comparison is not None else []
    return "\n".join([*lines, *_class_lines(list(evaluation.figures.values())[-1])])


def format_difference(evaluation: Evaluation) -> str:
    """`accuracy: drop 0.4 points, 95 % interval -0.2…1.0: within noise`."""
    comparison = evaluation.comparison
    assert comparison is not None
    title = _TITLES.get(evaluation.metric, evaluation.metric)
    if comparison["drop"] is None:
        return f"{title}: not comparable"
    points = evaluation.metric in _SHARES
    unit = " points" if points else ""

    def told(value: float) -> str:
        return f"{100 * value:.2f}" if points else f"{value:.4g}"

    interval = comparison["interval"]
    between = f", 95 % interval {told(interval[0])}…{told(interval[1])}" if interval else ""
    line = f"{title}: drop {told(comparison['drop'])}{unit}{between}: {comparison['verdict']}"
    test = comparison["mcnemar"]
    if test:
        line += (
            f" (McNemar p = {test['p_value']:.2g}; right only before {test['only_first']:.0f}, "
            f"only now {test['only_second']:.0f})"
        )
    return line


def _cell(value: float | None, interval: list[float] | None) -> str:
    if value is None:
        return "-"
    between = f" ({interval[0]:.4f}…{interval[1]:.4f})" if interval else ""
    return f"{value:.4f}{between}"


def _group_rows(group: str, figures: list[Mapping[str, Any]]) -> list[list[str]]:
    trees = [each.get(group) or {} for each in figures]
    keys = dict.fromkeys(key for tree in trees for key in tree)
    title = {"macro": "macro", "threshold": "at the threshold", "best_threshold": "at the best threshold"}[group]
    return [[f"{key}, {title}", *(_cell(tree.get(key), None) for tree in trees)] for key in keys]


def _class_lines(figures: Mapping[str, Any]) -> list[str]:
    """Of the model that is judged, its worst classes."""
    rows = figures.get("per_class") or []
    if not rows:
        return []
    key = next(name for name in ("f1", "ap", "iou") if name in rows[0])
    worst = sorted(rows, key=lambda row: row[key] if row[key] is not None else 2.0)[:_SHOWN_CLASSES]
    shown = ", ".join(f"{row['label']} {row[key]:.3f}" for row in worst if row[key] is not None)
    more = f" (the worst of {len(rows)})" if len(rows) > _SHOWN_CLASSES else ""
    return [f"{key} by class{more}: {shown}"]
