"""The manifest's `output`: what the decoder of a task needs beside the tensors. Which key is whose: `tasks`."""

import math
from dataclasses import dataclass
from typing import Literal

TaskName = Literal[
    "classification", "detection", "segmentation", "pose", "regression", "anomaly", "signal_classification",
    "audio_classification", "raw", "plugin",
]  # fmt: skip

_WITH_BOXES = {"detection", "pose", "plugin"}  # of a plugin nobody knows before it answers

DetectionDecoder = Literal["ssd_postprocess", "ssd_anchors", "blazeface", "yolov5", "yolov8", "fastestdet", "ultraface"]
PoseDecoder = Literal["movenet", "heatmap", "blazepose"]


@dataclass(frozen=True, slots=True)
class Anchors:
    """The boxes that an SSD-style head corrects: laid out as MediaPipe's SsdAnchorsCalculator does, which can also
    lay out those of the TensorFlow Object Detection API.

    Source: mediapipe/calculators/tflite/ssd_anchors_calculator.{cc,proto}.
    """

    strides: tuple[int, ...] = (8, 16, 16, 16)  # px, of each layer
    min_scale: float = 0.1484375
    max_scale: float = 0.75
    aspect_ratios: tuple[float, ...] = (1.0,)
    interpolated_ratio: float = 1.0  # of the anchor between two layers; 0: none
    offset: float = 0.5  # of an anchor's center in its cell
    fixed_size: bool = True  # every anchor is 1 x 1
    reduced_in_lowest_layer: bool = False  # three anchors in the first layer, as the Object Detection API has it
    # what the model's numbers are divided by: y, x, height, width
    scales: tuple[float, float, float, float] = (128.0, 128.0, 128.0, 128.0)
    exponential: bool = False  # sizes are exp(value / scale) x anchor, as in SSD; else value / scale, as in BlazeFace

    def __post_init__(self) -> None:
        if not self.strides or any(stride < 1 for stride in self.strides):
            raise ValueError("anchors.strides must be at least one, each 1 px or more")
        if any(value <= 0 for value in self.scales) or any(value <= 0 for value in self.aspect_ratios):
            raise ValueError("anchors.scales and aspect_ratios must be more than 0")


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """What the task decoder needs beside the tensors."""

    top_k: int | None = None  # at most so many predictions; None: 5 classes, every object
    activation: Literal["none", "softmax", "sigmoid"] = "none"
    score_threshold: float = 0.0
    # a class that stands for "nothing" and is not told; None: the decoder's usual one (0 of ssd_anchors and ultraface,
    # else none); -1: none
    background_class: int | None = None
    # positions among the outputs; None: told apart by shape and name. What each place means is the decoder's:
    # ssd_postprocess boxes, classes, scores, count; ssd_anchors, blazeface, ultraface boxes, scores
    output_order: tuple[int, ...] | None = None
    # detection and pose
    decoder: DetectionDecoder | PoseDecoder | None = None
    iou_threshold: float = 0.45  # two boxes of a class that overlap more are one object
    class_agnostic: bool = False  # of any class
    max_objects: int = 100
    # of the model's boxes; None: the decoder's usual one, of the YOLO heads told by their values
    box_units: Literal["normalized", "pixels"] | None = None
    anchors: Anchors | None = None
    # pose, and detectors with landmarks
    keypoints: tuple[str, ...] = ()  # their names, in order
    skeleton: tuple[tuple[int, int], ...] = ()  # pairs of keypoints that a line is drawn between
    # regression
    names: tuple[str, ...] = ()  # of the values, in order
    unit: str | None = None
    scale: float = 1.0  # value = model's value x scale + offset
    offset: float = 0.0
    # anomaly
    threshold: float | None = None  # of the error, above which it is an anomaly; made from calibration data
    error: Literal["mse", "mae", "output"] = "mse"  # output: the model gives the error itself
    # plugin
    plugin: str | None = None  # a name of the entry point group edge_deploy.tasks

    def __post_init__(self) -> None:
        if self.top_k is not None and self.top_k < 1:
            raise ValueError("top_k must be at least 1")
        if not 0 <= self.iou_threshold <= 1:
            raise ValueError("iou_threshold must be from 0 to 1")
        if self.max_objects < 1:
            raise ValueError("max_objects must be at least 1")
        if any(position < 0 for position in self.output_order or ()):
            raise ValueError("output_order must hold positions from 0")
        if not (math.isfinite(self.scale) and math.isfinite(self.offset)):  # JSON written by Python may hold NaN
            raise ValueError("scale and offset must be finite")
        if self.threshold is not None and not 0 < self.threshold < math.inf:
            raise ValueError(f"threshold must be more than 0, found {self.threshold}")


def never_gives_boxes(task: str) -> bool:
    """Whether no prediction of this task can have a box."""
    return task not in _WITH_BOXES
