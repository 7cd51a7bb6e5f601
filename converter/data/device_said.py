"""What a device said of its samples, taken for the truth: so a new model is held to the one that ran there.

It is the `.jsonl` of a device's sink beside the files that it is about: a samples sink's folder, or a folder source's
own. Which file becomes which example is left to the others.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from converter.data.examples import ClassTruth, ObjectsTruth, Truth, ValuesTruth
from converter.metrics.objects import TrueObject
from edge_agent.release.outputs import TaskName

Tree = Mapping[str, Any]
_OBJECTS = ("detection", "pose")
_WITHOUT = ("segmentation", "raw")  # of these a line says too little to judge by
_LABELED = 2  # visibility of a keypoint, as COCO has it


def results_in(folder: Path) -> Path | None:
    """The one file of results in it; None: there is none, or nobody knows which."""
    if not folder.is_dir():
        return None
    found = [file for file in sorted(folder.iterdir()) if file.suffix.lower() == ".jsonl"]
    return found[0] if len(found) == 1 else None


def truths_in(results: Path, task: TaskName) -> dict[str, Truth]:
    """By the name of the file. A line that is cut off or says nothing of use is passed over."""
    found: dict[str, Truth] = {}
    for line in results.read_bytes().splitlines():
        try:
            tree = json.loads(line)
            truth = _truth(tree["results"], task)
            if truth is not None:
                found[Path(tree["input"]).name] = truth
        except (ValueError, KeyError, IndexError, TypeError, RecursionError):
            continue
    return found


def note_of(results: Path) -> str:
    return f"the truth is what a device said ({results.name}): figures are agreement with its model"


def _truth(said: Sequence[Tree], task: TaskName) -> Truth | None:
    if task in _WITHOUT:
        return None
    if task in _OBJECTS:
        return ObjectsTruth(tuple(_object(each) for each in said))
    if task == "regression":
        return ValuesTruth(tuple(float(each["value"]) for each in sorted(said, key=lambda each: int(each["index"]))))
    best = said[0]
    return ClassTruth(str(best["label"]) if best["label"] is not None else int(best["index"]))


def _object(said: Tree) -> TrueObject:
    points = None
    if said.get("keypoints"):
        points = np.array([[each["x"], each["y"], _LABELED] for each in said["keypoints"]], np.float64)
    if said.get("box") is not None:
        left, top, right, bottom = map(float, said["box"])
    elif points is not None:
        (left, top), (right, bottom) = points[:, :2].min(axis=0).tolist(), points[:, :2].max(axis=0).tolist()
    else:
        raise KeyError("box")
    category = said["label"] if said["label"] is not None else said["index"]
    return TrueObject(str(category), (left, top, right, bottom), (right - left) * (bottom - top), keypoints=points)
