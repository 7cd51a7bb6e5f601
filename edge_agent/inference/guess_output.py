"""What the outputs of a bare `.tflite` most likely mean: task, decoder, activation, threshold, labels.

The author's metadata first, then the last operators, then shapes. What is guessed is said.
"""

import math
from dataclasses import dataclass, replace
from typing import TypeVar, get_args

from edge_agent.errors import counted
from edge_agent.inference.ends import End
from edge_agent.inference.model_file import ModelFile
from edge_agent.inference.operators import DETECTION_POSTPROCESS
from edge_agent.inference.said import InputKind, Said
from edge_agent.release.outputs import DetectionDecoder, OutputSpec, PoseDecoder, TaskName
from edge_agent.tasks.detection import guess_decoder
from edge_agent.tasks.keypoints import usual_names
from edge_agent.tasks.pose import guess_pose_decoder

Name = TypeVar("Name", bound=str)

_GIVING_SCORES = ("SOFTMAX", "LOGISTIC")
_DETECTION_THRESHOLD = 0.5
_SMALLEST_MAP = 8  # of the input's side: a map of classes is at least 1/8 as large
# What tflite-support calls the outputs of a detector (metadata/python/metadata_writers/object_detector.py, and older
# models by hand), in the order of OutputSpec.output_order.
_DETECTOR_NAMES = (("location", "locations"), ("category", "classes"), ("score", "scores"), ("number of detections",))
_SCORE_WORDS = ("score", "prob", "class")
# Boxes with keypoints are objects; masks and oriented boxes are heads that are not decoded.
_ULTRALYTICS_TASKS: dict[str, TaskName] = {"detect": "detection", "pose": "detection", "classify": "classification"}
_DECODED: tuple[TaskName, ...] = ("pose", "detection")
_CLASSES: dict[InputKind, TaskName] = {
    "image": "classification", "signal": "signal_classification", "audio": "audio_classification",
    "tensor": "classification",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Meaning:
    """What has been found."""

    task: TaskName
    output: OutputSpec
    labels: tuple[str, ...]
    notes: tuple[str, ...]


def guess_meaning(
    described: ModelFile, kind: InputKind, fed: tuple[End, ...], outputs: tuple[End, ...], said: Said
) -> Meaning:
    """`outputs` are those that are told, not fed back; `fed` the inputs they answer to."""
    notes: list[str] = []
    guesser = _Guesser(described, kind, fed, outputs, said)
    task, decoder = guesser.task()
    if said.task is None:
        notes.append(f"task guessed from the outputs: {task} ({', '.join(end.tensor.label for end in outputs)})")
    if decoder is not None and said.decoder is None:
        notes.append(f"decoder guessed: {decoder}; --decoder chooses another")
    output = replace(guesser.output(task, notes), decoder=said.decoder or decoder)
    labels = guesser.labels(task, output, notes)
    return Meaning(task, output, labels, tuple(notes))


@dataclass(frozen=True, slots=True)
class _Guesser:
    described: ModelFile
    kind: InputKind
    fed: tuple[End, ...]
    outputs: tuple[End, ...]
    said: Said

    def task(self) -> tuple[TaskName, DetectionDecoder | PoseDecoder | None]:
        if self.said.task is not None:
            return self.said.task, self._decoder_of(self.said.task)
        if self.said.decoder is not None:
            return ("pose" if self.said.decoder in get_args(PoseDecoder) else "detection"), self.said.decoder
        if self.kind == "image":
            return self._task_of_picture()
        if self._like_input() is not None:
            return "anomaly", None
        scores = self._row_of_scores()
        if scores is not None and (self.kind != "tensor" or scores.operator in _GIVING_SCORES):
            return _CLASSES[self.kind], None
        return ("regression" if self._single_value() else "raw"), None

    def _task_of_picture(self) -> tuple[TaskName, DetectionDecoder | PoseDecoder | None]:
        exported = self.described.export_notes
        if exported is not None:
            task = _ULTRALYTICS_TASKS.get(exported.task, "raw")
            return task, self._decoder_of(task)
        for task in _DECODED:
            decoder = self._decoder_of(task)
            if decoder is not None:
                return task, decoder
        if self._row_of_scores() is not None:
            return "classification", None
        if self._is_map():
            return "segmentation", None
        return ("regression" if self._single_value() else "raw"), None

    def _decoder_of(self, task: TaskName) -> DetectionDecoder | PoseDecoder | None:
        outputs, inputs = (tuple(end.tensor for end in ends) for ends in (self.outputs, self.fed))
        if task == "pose":
            return _one_of(get_args(PoseDecoder), guess_pose_decoder(outputs, inputs))
        if task != "detection":
            return None
        if any(end.operator == DETECTION_POSTPROCESS for end in self.outputs) or self._detector_order() is not None:
            return "ssd_postprocess"
        return _one_of(get_args(DetectionDecoder), guess_decoder(outputs, inputs))

    def output(self, task: TaskName, notes: list[str]) -> OutputSpec:
        stated = next((value for end in self.outputs if (value := _threshold(end)) is not None), None)
        if stated is not None:
            notes.append(f"score threshold from the model's metadata: {stated:g}")
        if any(end.metadata is not None and end.metadata.calibrated for end in self.outputs):
            notes.append("the metadata's score calibration is not applied")
        if task == "detection":
            return self._detection_output(stated, notes)
        if task not in ("classification", "signal_classification", "audio_classification", "segmentation"):
            return OutputSpec()
        chosen = self._row_of_scores() if task != "segmentation" else None
        several = len(self._rows_of_scores()) > 1
        order = (self.outputs.index(chosen),) if chosen is not None and several else None
        end = chosen or (self.outputs[0] if self.outputs else None)
        softmax = end is not None and task != "segmentation" and _wants_softmax(end)
        if end is not None and softmax:
            made_by = end.operator or "no operator"
            notes.append(f"softmax guessed: the model ends in {made_by}, which gives no scores in 0..1")
        return OutputSpec(
            score_threshold=stated or 0.0, activation="softmax" if softmax else "none", output_order=order
        )

    def _detection_output(self, stated: float | None, notes: list[str]) -> OutputSpec:
        if stated is None:
            notes.append(f"objects below a score of {_DETECTION_THRESHOLD} are left out; --threshold changes that")
        order = self._detector_order()
        if order is not None and order != tuple(range(len(order))):
            notes.append(f"order of the outputs from the model's metadata: {', '.join(map(str, order))}")
        exported = self.described.export_notes
        points = exported.keypoints if exported is not None else 0
        boxes = next((end.metadata.boxes for end in self.outputs if end.metadata and end.metadata.boxes), None)
        if boxes is not None and (boxes.corners not in (None, "boundaries") or boxes.index not in ((), (1, 0, 3, 2))):
            notes.append(f"the metadata's layout of boxes ({boxes.corners}, {list(boxes.index)}) is not applied")
        return OutputSpec(
            score_threshold=_DETECTION_THRESHOLD if stated is None else stated,
            output_order=order,
            box_units="pixels" if boxes is not None and boxes.units == "pixels" else None,
            keypoints=usual_names(points) or tuple(map(str, range(points))),
        )

    def labels(self, task: TaskName, output: OutputSpec, notes: list[str]) -> tuple[str, ...]:
        chosen = [self.outputs[position] for position in output.output_order or ()]
        named = [self.described.labels_of(end.metadata) for end in chosen if end.metadata is not None]
        labels = next(filter(None, named), self.described.labels)
        if not labels or task in ("raw", "pose", "anomaly"):
            return ()
        classes = self._classes(task, output)
        if classes is not None and (len(labels) > classes if task == "detection" else len(labels) != classes):
            classes_there = counted(classes, "class", "classes")
            notes.append(f"labels in the model are not used: {len(labels)} for {classes_there}")
            return ()
        notes.append(f"{counted(len(labels), 'label')} from the model's metadata")
        return labels

    def _classes(self, task: TaskName, output: OutputSpec) -> int | None:
        """How many labels there must be, of a detector at most; None: any number."""
        if task == "detection":
            return self.described.detection_classes
        if not self.outputs:
            return None
        if task == "regression":
            return sum(math.prod(end.tensor.shape) for end in self.outputs)
        end = self.outputs[output.output_order[0] if output.output_order else 0]
        if task == "segmentation":
            return end.sizes[-1] if len(end.sizes) == 3 else None
        return end.tensor.shape[-1] if end.tensor.shape else 0

    def _detector_order(self) -> tuple[int, ...] | None:
        """Positions of boxes, classes, scores and count, where the metadata names all of them."""
        named = {
            end.metadata.name.lower().strip(): position
            for position, end in enumerate(self.outputs)
            if end.metadata is not None
        }
        found = [next((named[name] for name in names if name in named), None) for names in _DETECTOR_NAMES]
        places = [position for position in found if position is not None]
        return tuple(places) if len(places) == len(_DETECTOR_NAMES) else None

    def _row_of_scores(self) -> End | None:
        """The output with a score for each class."""
        rows = self._rows_of_scores()
        if len(rows) <= 1:
            return rows[0] if rows and (len(self.outputs) == 1 or self._tells_scores(rows[0])) else None
        return next((end for end in rows if self._tells_scores(end)), None)

    def _rows_of_scores(self) -> list[End]:
        return [end for end in self.outputs if len(end.sizes) == 1 and end.tensor.shape[-1] == end.sizes[0]]

    def _tells_scores(self, end: End) -> bool:
        named = any(word in name.lower() for name in end.names for word in _SCORE_WORDS)
        return named or end.operator in _GIVING_SCORES or _has_labels(end)

    def _single_value(self) -> bool:
        return len(self.outputs) == 1 and not self.outputs[0].sizes

    def _like_input(self) -> End | None:
        """The output that reproduces the only input."""
        if len(self.fed) != 1 or len(self.outputs) != 1 or not self.fed[0].sizes:
            return None
        return self.outputs[0] if self.outputs[0].sizes == self.fed[0].sizes else None

    def _is_map(self) -> bool:
        """One output, as wide and high as the picture or by a whole factor smaller."""
        if len(self.outputs) != 1 or len(self.fed[0].tensor.shape) != 4:
            return False
        end, picture = self.outputs[0], self.fed[0].tensor.shape
        height, width = end.sizes[:2] if len(end.sizes) in (2, 3) else (0, 0)
        if not height or picture[1] * width != picture[2] * height or height * _SMALLEST_MAP < picture[1]:
            return False
        # Three channels of the picture's own size are more likely a picture than three classes.
        return end.sizes != self.fed[0].sizes or end.operator in _GIVING_SCORES or len(end.sizes) == 2


def _wants_softmax(end: End) -> bool:
    quantization = end.tensor.quantization
    in_0_to_1 = quantization is not None and quantization.scale * 256 <= 1.01
    return bool(end.operator) and end.operator not in _GIVING_SCORES and not in_0_to_1


def _has_labels(end: End) -> bool:
    return end.metadata is not None and bool(end.metadata.label_files)


def _threshold(end: End) -> float | None:
    return end.metadata.score_threshold if end.metadata is not None else None


def _one_of(known: "tuple[Name, ...]", name: str | None) -> "Name | None":
    return next((each for each in known if each == name), None)
