"""What the manifest says of inputs and outputs as TensorFlow Lite metadata, for those who read no manifest.

MediaPipe and Android Studio read it: what the tensors hold, the normalization, which file has the labels. Source:
mediapipe/tasks/metadata/metadata_schema.fbs (1.5.0); slot numbers are its fields. It is read by the device's own
`inference.metadata`. Putting it into a model is left to `tflite_embed`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edge_agent.errors import ModelError
from edge_agent.inference.model_file import FileTensor, ModelFile
from edge_agent.release.inputs import AudioInput, ImageInput, SignalInput
from edge_agent.release.manifest import LABELS_FILE, Manifest
from edge_agent.tasks.classification import scores_position
from edge_agent.tasks.segmentation import map_output
from edge_agent.transform.tensor import Quantization, TensorSpec

_IDENTIFIER = b"M001"
_FEATURE, _IMAGE, _BOXES, _AUDIO = 1, 2, 3, 4  # ContentProperties
_COLORS = {"rgb": 1, "gray": 2}  # ColorSpaceType; it knows no BGR
_NORMALIZATION, _THRESHOLD = 1, 3  # ProcessUnitOptions
_AXIS_LABELS, _VALUE_LABELS = 2, 3  # AssociatedFileType
_BOUNDARIES, _RATIO = 1, 0  # BoundingBoxType, CoordinateType
_BOX_INDEX = (1, 0, 3, 2)  # where left, top, right and bottom stand in ymin, xmin, ymax, xmax
# What tflite-support calls the outputs of a detector, in the order of OutputSpec.output_order
# (metadata/python/metadata_writers/object_detector.py).
_DETECTOR_NAMES = ("location", "category", "score", "number of detections")
_DETECTOR_GROUP = "detection_result"
# The oldest parser that knows what is used (tensorflow_lite_support/metadata/cc/metadata_version.cc).
_PARSER, _PARSER_OF_GROUPS, _PARSER_OF_AUDIO = "1.0.0", "1.2.0", "1.3.0"


@dataclass(frozen=True, slots=True)
class _End:
    """What is written of one tensor."""

    name: str
    description: str
    content: int = _FEATURE
    properties: Mapping[int, tuple[str, Any]] = field(default_factory=dict)  # slot → kind and value
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    labels: int | None = None  # the AssociatedFileType of the label file
    score_threshold: float = 0.0


def format_metadata(
    manifest: Manifest,
    labels: Sequence[str],
    *,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    input_names: Sequence[str],
    output_names: Sequence[str],
    source: ModelFile,
) -> bytes:
    """The metadata of a model.

    `inputs` and `outputs` are the model's as it is stored (all of them, in the graph's order), the names what people
    call them. Of `source`, the model it was made from, description, author and license are kept. The version is left
    out: with it, each release would change a chunk of a model that is the same.
    """
    ends_in = _inputs(manifest, inputs, input_names)
    ends_out = _outputs(manifest, outputs, output_names, labelled=bool(labels))
    groups = manifest.task == "detection" and any(end.content == _BOXES for end in ends_out)
    audio = any(end.content == _AUDIO for end in ends_in)
    before = source.metadata
    writer = _Writer()
    subgraph = writer.table(
        {
            2: ("offset", writer.offsets([writer.end(end) for end in ends_in])),
            3: ("offset", writer.offsets([writer.end(end) for end in ends_out])),
            **({8: ("offset", writer.offsets([writer.group(_DETECTOR_GROUP, _DETECTOR_NAMES[:3])]))} if groups else {}),
        }
    )
    texts = {
        0: manifest.name,
        1: before.description if before else "",
        4: before.author if before else "",
        5: before.license if before else "",
        7: _PARSER_OF_AUDIO if audio else _PARSER_OF_GROUPS if groups else _PARSER,
    }
    fields = {slot: ("offset", writer.text(text)) for slot, text in texts.items() if text}
    return writer.finish(writer.table({**fields, 3: ("offset", writer.offsets([subgraph]))}))


def stored_spec(tensor: FileTensor) -> TensorSpec:
    """A tensor of a file as an engine would describe it. One of a dtype that numpy lacks counts as bytes."""
    known = tensor.dtype in np.sctypeDict
    quantization = Quantization(tensor.scales[0], (tensor.zero_points or (0,))[0]) if tensor.scales else None
    return TensorSpec(tensor.name, tensor.shape, np.dtype(tensor.dtype if known else "uint8"), quantization)


# --- what is said -------------------------------------------------------------------------------------------------


def _inputs(manifest: Manifest, tensors: Sequence[TensorSpec], names: Sequence[str]) -> list[_End]:
    own = {*manifest.state.values(), *manifest.constants}
    fed = [tensor.name for tensor in tensors if tensor.name not in own]
    wanted = getattr(manifest.input, "tensor", None) or (fed[0] if len(fed) == 1 else None)
    return [
        _input(manifest, tensor, name) if tensor.name == wanted else _End(name, "")
        for tensor, name in zip(tensors, names, strict=True)
    ]


def _input(manifest: Manifest, tensor: TensorSpec, name: str) -> _End:
    spec = manifest.input
    if isinstance(spec, ImageInput):
        mean, std = (spec.mean, spec.std) if spec.mean is not None else _of_bytes(tensor)
        assert std is not None
        low, high = (_ends_of(pixel, mean or (), std) for pixel in (0.0, 255.0))
        color = {0: ("i8", _COLORS[spec.color])} if spec.color in _COLORS else {}
        about = f"{spec.color} picture, made the input's size by {spec.fit} ({spec.resample})"
        return _End(name, about, _IMAGE, color, mean or (), std, low, high)
    mean, std = (spec.mean or (), spec.std or ()) if isinstance(spec, SignalInput | AudioInput) else ((), ())
    if isinstance(spec, AudioInput):
        about = f"{spec.window} samples of mono sound as {spec.features}, amplitude {spec.amplitude}"
        sound = {0: ("u32", spec.sample_rate_hz), 1: ("u32", 1)}
        # a model of a spectrogram takes no sound that a reader could give it
        content = _AUDIO if spec.features == "waveform" else _FEATURE
        return _End(name, about, content, sound if content == _AUDIO else {}, mean, std)
    if isinstance(spec, SignalInput):
        return _End(name, f"window of {spec.window} rows: {', '.join(spec.channels)}".rstrip(": "), mean=mean, std=std)
    return _End(name, ", ".join(spec.channels))


def _of_bytes(tensor: TensorSpec) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The normalization that comes out as the pixel's own byte, which is what an input without one takes."""
    if tensor.quantization is None or tensor.dtype.kind == "f":
        return (0.0,), (1.0,)
    zero_point, scale = tensor.quantization.zero_point, tensor.quantization.scale
    return (float(zero_point - int(np.iinfo(tensor.dtype).min)),), (1 / scale,)


def _ends_of(pixel: float, mean: tuple[float, ...], std: tuple[float, ...]) -> tuple[float, ...]:
    return tuple((pixel - a) / b for a, b in zip(mean, std, strict=True))


def _outputs(manifest: Manifest, tensors: Sequence[TensorSpec], names: Sequence[str], *, labelled: bool) -> list[_End]:
    ends = [
        _End(name, "state, fed back" if tensor.name in manifest.state else "")
        for tensor, name in zip(tensors, names, strict=True)
    ]
    told = tuple(tensor for tensor in tensors if tensor.name not in manifest.state)
    places = [position for position, tensor in enumerate(tensors) if tensor.name not in manifest.state]
    spec = manifest.output
    if manifest.task == "detection" and spec.decoder == "ssd_postprocess":
        order = spec.output_order or tuple(range(4))
        for what, place in zip(_DETECTOR_NAMES, order, strict=False):
            position = places[place]
            ends[position] = _detector_end(what, spec.score_threshold, labelled=labelled)
        return ends
    try:
        if manifest.task.endswith("classification"):
            position = places[scores_position(spec, told)]
        elif manifest.task == "segmentation":
            position = places[map_output(spec, told)[0]]
        else:
            return ends
    except ModelError:  # the model does not fit its manifest: said where it is run
        return ends
    what = "share of each class" if manifest.task == "segmentation" else "score of each class"
    behind = "" if spec.activation == "none" else f", behind {spec.activation}, which the model leaves out"
    labels = _AXIS_LABELS if labelled else None
    ends[position] = _End(names[position], what + behind, labels=labels, score_threshold=spec.score_threshold)
    return ends


def _detector_end(name: str, threshold: float, *, labelled: bool) -> _End:
    if name == "location":
        properties = {0: ("counts", _BOX_INDEX), 1: ("i8", _BOUNDARIES), 2: ("i8", _RATIO)}
        return _End(name, "boxes: top, left, bottom, right, 0 to 1 of the picture", _BOXES, properties)
    labels = _VALUE_LABELS if labelled and name == "category" else None
    return _End(name, "of each box", labels=labels, score_threshold=threshold if name == "score" else 0.0)


# --- how it is written --------------------------------------------------------------------------------------------


class _Writer:
    """A flatbuffer that grows from its end: parts are made before what holds them."""

    def __init__(self) -> None:
        from flatbuffers import Builder

        self._builder: Any = Builder(1024)

    def text(self, text: str) -> int:
        return int(self._builder.CreateString(text))

    def reals(self, values: Sequence[float]) -> int:
        return int(self._builder.CreateNumpyVector(np.array(values, "<f4")))

    def offsets(self, parts: Sequence[int]) -> int:
        self._builder.StartVector(4, len(parts), 4)
        for part in reversed(parts):
            self._builder.PrependUOffsetTRelative(part)
        return int(self._builder.EndVector())

    def table(self, fields: Mapping[int, tuple[str, Any]]) -> int:
        """`fields`: slot → kind (offset, counts, i8, u8, u32, f32) and value; zeros are left out."""
        builder = self._builder
        made = {
            slot: ("offset", int(builder.CreateNumpyVector(np.array(value, "<u4"))))
            if kind == "counts"
            else (kind, value)
            for slot, (kind, value) in fields.items()
        }
        builder.StartObject(max(made, default=-1) + 1)
        for slot, (kind, value) in made.items():
            match kind:
                case "offset":
                    builder.PrependUOffsetTRelativeSlot(slot, value, 0)
                case "i8":
                    builder.PrependInt8Slot(slot, value, 0)
                case "u8":
                    builder.PrependUint8Slot(slot, value, 0)
                case "u32":
                    builder.PrependUint32Slot(slot, value, 0)
                case "f32":
                    builder.PrependFloat32Slot(slot, value, 0.0)
        return int(builder.EndObject())

    def end(self, end: _End) -> int:
        """Table TensorMetadata."""
        properties = self.table(end.properties)
        fields = {
            0: ("offset", self.text(end.name)),
            3: ("offset", self.table({0: ("u8", end.content), 1: ("offset", properties)})),
        }
        if end.description:
            fields[1] = ("offset", self.text(end.description))
        units = []
        if end.mean:
            options = self.table({0: ("offset", self.reals(end.mean)), 1: ("offset", self.reals(end.std))})
            units.append(self.table({0: ("u8", _NORMALIZATION), 1: ("offset", options)}))
        if end.score_threshold > 0:
            options = self.table({0: ("f32", end.score_threshold)})
            units.append(self.table({0: ("u8", _THRESHOLD), 1: ("offset", options)}))
        if units:
            fields[4] = ("offset", self.offsets(units))
        if end.low:
            high, low = self.reals(end.high), self.reals(end.low)
            fields[5] = ("offset", self.table({0: ("offset", high), 1: ("offset", low)}))
        if end.labels is not None:
            file = self.table({0: ("offset", self.text(LABELS_FILE)), 2: ("i8", end.labels)})
            fields[6] = ("offset", self.offsets([file]))
        return self.table(fields)

    def group(self, name: str, tensors: Sequence[str]) -> int:
        """Table TensorGroup."""
        names = self.offsets([self.text(tensor) for tensor in tensors])
        return self.table({0: ("offset", self.text(name)), 1: ("offset", names)})

    def finish(self, root: int) -> bytes:
        self._builder.Finish(root, _IDENTIFIER)
        return bytes(self._builder.Output())
