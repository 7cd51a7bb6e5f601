"""What authors write into models is read as tflite-support and MediaPipe lay it out."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.inference.flatbuffer import DamagedError
from edge_agent.inference.metadata import BoxLayout, TensorGroup, TensorMetadata, parse_metadata
from edge_agent.inference.model_file import inspect_model
from edge_agent.inference.ultralytics import ExportNotes, parse_export_notes
from tests.sim.model_file import Tree, build_table, describe, tensor

BYTE, UBYTE, UINT, FLOAT = "Int8", "Uint8", "Uint32", "Float32"


def floats(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


IMAGE: Tree = {
    0: "image",
    1: "A picture.",
    3: {0: (UBYTE, 2), 1: {0: (BYTE, 2)}},  # ImageProperties, grayscale
    4: [{0: (UBYTE, 1), 1: {0: floats(123.5, 116.0, 103.0), 1: floats(58.0, 57.0, 57.5)}}],  # NormalizationOptions
    5: {0: floats(1.0), 1: floats(-1.0)},  # Stats: max, min
}
SOUND: Tree = {0: "audio_clip", 3: {0: (UBYTE, 4), 1: {0: (UINT, 48_000), 1: (UINT, 1)}}}
BOXES: Tree = {
    0: "location",
    3: {0: (UBYTE, 3), 1: {0: np.array([1, 0, 3, 2], np.uint32), 1: (BYTE, 1), 2: (BYTE, 1)}},
}
SCORES: Tree = {
    0: "score",
    4: [{0: (UBYTE, 2), 1: {0: (BYTE, 2)}}, {0: (UBYTE, 3), 1: {0: (FLOAT, 0.25)}}],  # calibration, threshold
    6: [
        {0: "calibration.txt", 2: (BYTE, 4)},
        {0: "labels-de.txt", 2: (BYTE, 2), 3: "de"},
        {0: "labels.txt", 2: (BYTE, 2)},
    ],
}
ROOT: Tree = {
    0: "finder",
    1: "Finds things.",
    2: "v2",
    3: [
        {
            2: [IMAGE, SOUND],
            3: [BOXES, SCORES],
            8: [{0: "detection_result", 1: ["location", "score"]}],
            9: [{0: "SSD_ANCHORS_METADATA", 1: b"\x01\x02"}],  # custom metadata: nobody's business here
        }
    ],
    4: "somebody",
    5: "MIT",
}


def test_all_that_a_transform_can_use_is_read() -> None:
    found = parse_metadata(build_table(ROOT, b"M001"))
    assert (found.name, found.description, found.version, found.author, found.license) == (
        "finder", "Finds things.", "v2", "somebody", "MIT",
    )  # fmt: skip
    assert found.inputs == (
        TensorMetadata(
            "image",
            "A picture.",
            mean=(123.5, 116.0, 103.0),
            std=(58.0, 57.0, 57.5),
            color="gray",
            content="image",
            low=(-1.0,),
            high=(1.0,),
        ),
        TensorMetadata("audio_clip", "", content="audio", sample_rate_hz=48_000, channels=1),
    )
    assert found.outputs == (
        TensorMetadata("location", "", content="boxes", boxes=BoxLayout("boundaries", (1, 0, 3, 2), "pixels")),
        TensorMetadata("score", "", label_files=("labels.txt", "labels-de.txt"), score_threshold=0.25, calibrated=True),
    )
    assert found.output_groups == (TensorGroup("detection_result", ("location", "score")),)


def test_metadata_that_says_nothing_is_read_too() -> None:
    found = parse_metadata(build_table({3: [{2: [{}], 3: [{3: {}, 4: [{}], 5: {}, 6: [{}]}]}]}, b"M001"))
    assert found.inputs == (TensorMetadata("", ""),)
    assert found.outputs == (TensorMetadata("", ""),)
    assert parse_metadata(build_table({}, b"M001")).inputs == ()


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_damaged_metadata_is_read_or_refused(data: st.DataObject) -> None:
    content = bytearray(build_table(ROOT, b"M001"))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(content) - 4))
        content[at : at + 4] = data.draw(
            st.sampled_from([b"\xff\xff\xff\xff", b"\0\0\0\x80"]) | st.binary(min_size=4, max_size=4)
        )
    try:
        parse_metadata(bytes(content))
    except DamagedError:
        return


def test_labels_are_those_of_the_output_in_no_language(tmp_path: Path) -> None:
    outputs = (
        TensorMetadata("a", ""),
        TensorMetadata("b", "", label_files=("gone.txt", "labels.txt", "labels-de.txt")),
    )
    files = {"labels-de.txt": b"Hund\n", "labels.txt": b"dog\ncat\n"}
    model = describe(tmp_path / "m.tflite", [tensor("x", 1)], [tensor("y", 2)], metadata=((), outputs), files=files)
    assert model.labels == ("dog", "cat")
    assert model.labels_of(outputs[0]) == ()


NOTES = {"task": "pose", "names": {0: "person", 2: "dog"}, "kpt_shape": [17, 3], "imgsz": [640, 640]}


@pytest.mark.parametrize(
    ("name", "content"), [("metadata.json", json.dumps(NOTES, indent=2)), ("temp_meta.txt", str(NOTES))]
)
def test_what_ultralytics_writes_into_its_exports_is_read(tmp_path: Path, name: str, content: str) -> None:
    model = describe(tmp_path / "m.tflite", [tensor("x", 1)], [tensor("y", 2)], files={name: content.encode()})
    assert model.export_notes == ExportNotes("pose", ("person", "", "dog"), 17)
    assert model.labels == ("person", "", "dog")


@pytest.mark.parametrize(
    ("notes", "expected"),
    [
        (b'{"task": "detect", "names": ["a", "b"], "kpt_shape": [17, 2]}', ExportNotes("detect", ("a", "b"))),
        (b'{"task": "detect", "names": {"-1": "a"}}', ExportNotes("detect", ())),
        (b'{"task": "detect", "names": {"999999": "a"}}', ExportNotes("detect", ())),
        (b'{"names": ["a"]}', None),
        (b"labels: a, b", None),
        (b"__import__('os').abort()", None),
        (b"(" * 100_000, None),
        (b"\xff\xfe", None),
        (b"", None),
    ],
)
def test_notes_that_make_no_sense_are_none(notes: bytes, expected: ExportNotes | None) -> None:
    assert parse_export_notes({"temp_meta.txt": notes}) == expected


@pytest.mark.shared_data
def test_each_signature_tells_its_graph_and_what_makes_its_outputs(shared_data: Path) -> None:
    model = inspect_model(shared_data / "models/sensor/two_signatures.tflite")
    found = [(each.key, each.graph, each.output_operators) for each in model.signatures]
    assert found == [("add", 0, {"add_result": "ADD"}), ("multiply", 1, {"multiply_result": "MUL"})]


@pytest.mark.shared_data
def test_metadata_of_real_models_is_read(shared_data: Path) -> None:
    model = inspect_model(shared_data / "models/detection/coco_ssd_mobilenet_v1_metadata.tflite")
    assert model.metadata is not None
    assert model.metadata.inputs[0].content == "image"
    boxes = model.metadata.outputs[0].boxes
    assert boxes is None or boxes.corners == "boundaries"
