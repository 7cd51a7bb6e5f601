"""What is written into the model beside the manifest, and that nothing else of the model changes by it."""

import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated

from converter.convert import convert
from converter.errors import ConversionError
from converter.tflite_embed import embed
from converter.tflite_metadata import format_metadata, stored_spec
from converter.tflite_schema import read_graph
from edge_agent.inference.guess import guess
from edge_agent.inference.metadata import Metadata, parse_metadata
from edge_agent.inference.model_file import inspect_model
from edge_agent.inference.tflite import open_engine
from edge_agent.release.archive import read_artifact
from edge_agent.release.inputs import AudioInput, ImageInput, InputSpec, SignalInput
from edge_agent.release.manifest import LABELS_FILE, MODEL_FILE, FileEntry, Manifest
from edge_agent.release.outputs import OutputSpec, TaskName
from tests.converter.conftest import EXAMPLES, Digits, order

SOURCE = EXAMPLES / "digits_v2.tflite"


def extracted(artifact: Path) -> Path:
    """The model alone, as somebody would take it out."""
    path = artifact.with_suffix(".tflite")
    path.write_bytes(read_artifact(artifact).members[MODEL_FILE])
    return path


def embedded(model: bytes, metadata: bytes = b"metadata", files: dict[str, bytes] | None = None) -> bytes:
    made = embed(model, metadata, files or {})
    assert made is not None
    return made


@pytest.mark.parametrize("scheme", ["float32", "float16", "dynamic", "int8"])
def test_a_model_taken_out_of_its_artifact_still_tells_all(scheme: str, digits: Digits, tmp_path: Path) -> None:
    output = tmp_path / "digits-3.1.edge"
    recipe = EXAMPLES / "digits.toml"
    convert(order(output, recipe=recipe, options={"scheme": scheme}, calibrate=digits.calibration))
    artifact, path = read_artifact(output), extracted(output)
    model = inspect_model(path)
    assert model.metadata is not None
    assert (model.metadata.name, model.metadata.version) == ("digits", "")
    assert model.labels == tuple(str(digit) for digit in range(10))
    (source,), (answer,) = model.metadata.inputs, model.metadata.outputs
    assert (source.name, source.content, source.color) == ("image", "image", "gray")
    assert (source.mean, source.std, source.low, source.high) == ((0.0,), (255.0,), (0.0,), (1.0,))
    assert (answer.name, answer.label_files) == ("scores", (LABELS_FILE,))
    with open_engine(path) as engine:
        told = guess(model, engine)
    assert told.manifest.task == artifact.manifest.task
    assert told.labels == model.labels
    assert isinstance(told.manifest.input, ImageInput)
    assert told.manifest.input.color == "gray"
    if scheme != "int8":  # there the pixel's own byte is the same thing
        assert (told.manifest.input.mean, told.manifest.input.std) == ((0.0,), (255.0,))


def test_another_version_of_the_same_model_is_the_same_model(tmp_path: Path) -> None:
    """A device that has the one fetches nothing for the other but the manifest and the report."""
    models = []
    for version in ("1.9", "1.10-beta"):
        convert(order(tmp_path / f"digits-{version}.edge", options={"scheme": "dynamic"}))
        models.append(read_artifact(tmp_path / f"digits-{version}.edge").members[MODEL_FILE])
    assert models[0] == models[1]


def test_an_unchanged_model_stays_so_unless_it_is_asked_for(tmp_path: Path) -> None:
    output = tmp_path / "digits-1.edge"
    convert(order(output, options={"scheme": "unchanged"}))
    assert read_artifact(output).members[MODEL_FILE] == SOURCE.read_bytes()
    convert(order(output, options={"scheme": "unchanged", "metadata": True}, force=True))
    assert inspect_model(extracted(output)).metadata is not None
    convert(order(output, options={"scheme": "float32", "metadata": False}, force=True))
    assert read_artifact(output).members[MODEL_FILE] == SOURCE.read_bytes()


def test_the_model_answers_as_before(int8: Path, tmp_path: Path) -> None:
    before, after = extracted(int8), tmp_path / "after.tflite"
    after.write_bytes(embedded(before.read_bytes(), files={"note.txt": b"1"}))
    picture = np.random.default_rng(0).integers(-128, 128, (1, 32, 32, 1)).astype(np.int8)
    answers = []
    for path in (before, after):
        with open_engine(path) as engine:
            answers.append(engine.invoke([picture])[0])
    assert np.array_equal(answers[0], answers[1])


@pytest.mark.parametrize("scheme", ["float32", "int8"])  # values inside of the flatbuffer, and behind it
def test_values_stay_aligned(scheme: str, int8: Path) -> None:
    source = SOURCE.read_bytes() if scheme == "float32" else read_artifact(int8).members[MODEL_FILE]
    made = embedded(source)
    before, after = _values(source), _values(made)
    assert len(after) == len(before) + 1
    for (start, old), (place, new) in zip(before, after, strict=False):
        assert old == new
        assert place % 16 == start % 16
    assert after[-1][1] == b"metadata"
    assert after[-1][0] % 16 == 0


def _values(content: bytes) -> list[tuple[int, bytes]]:
    """Where the values of each buffer stand, and what they are."""
    model = schema_py_generated.Model.GetRootAs(content, 0)
    found = []
    for number in range(model.BuffersLength()):
        buffer: Any = model.Buffers(number)
        if buffer.Offset() > 1:
            start, size = buffer.Offset(), buffer.Size()
        elif buffer.DataLength():
            start, size = buffer._tab.Vector(buffer._tab.Offset(4)), buffer.DataLength()
        else:
            start, size = 0, 0
        found.append((start, content[start : start + size]))
    return found


def test_a_longer_text_does_not_move_the_weights() -> None:
    """Else two releases would share no chunk."""
    source = SOURCE.read_bytes()
    places = {embedded(source, b"x" * size, {LABELS_FILE: b"y" * size}).find(source) for size in (1, 17, 5000)}
    assert len(places) == 1
    assert -1 not in places


def test_what_is_written_again_takes_the_place_of_the_first() -> None:
    once = embedded(SOURCE.read_bytes(), b"old", {"labels.txt": b"old", "other.txt": b"kept"})
    twice = embedded(once, b"new", {"labels.txt": b"new"})
    model = schema_py_generated.Model.GetRootAs(twice, 0)
    entries = [model.Metadata(number) for number in range(model.MetadataLength())]
    named = [entry for entry in entries if entry.Name() == b"TFLITE_METADATA"]
    assert len(named) == 1
    assert model.Buffers(named[0].Buffer()).DataAsNumpy().tobytes() == b"new"
    with zipfile.ZipFile(io.BytesIO(twice)) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {"labels.txt": b"new", "other.txt": b"kept"}
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert archive.testzip() is None


def test_other_entries_and_the_description_are_kept() -> None:
    before = schema_py_generated.Model.GetRootAs(SOURCE.read_bytes(), 0)
    after = schema_py_generated.Model.GetRootAs(embedded(SOURCE.read_bytes()), 0)
    names = [after.Metadata(number).Name() for number in range(after.MetadataLength())]
    assert names == [
        *(before.Metadata(number).Name() for number in range(before.MetadataLength())), b"TFLITE_METADATA"
    ]  # fmt: skip
    assert (after.Version(), after.Description()) == (before.Version(), before.Description())
    assert read_graph(embedded(SOURCE.read_bytes())) == read_graph(SOURCE.read_bytes())


def test_the_same_input_gives_the_same_bytes() -> None:
    files = {"b.txt": b"2", "a.txt": b"1"}
    assert embedded(SOURCE.read_bytes(), files=files) == embedded(
        SOURCE.read_bytes(), files=dict(reversed(files.items()))
    )


@pytest.mark.parametrize("size", [9, 100, 5000])
def test_a_damaged_model_is_refused(size: int) -> None:
    with pytest.raises(ConversionError, match="damaged"):
        embed(SOURCE.read_bytes()[:size], b"metadata", {})


def test_a_root_with_fields_that_are_not_known_is_left_alone() -> None:
    content = bytearray(embedded(SOURCE.read_bytes()))
    root = struct.unpack_from("<I", content)[0]
    vtable = root - struct.unpack_from("<i", content, root)[0]
    # a vtable of one more field: it takes the first bytes of the table for a ninth one
    struct.pack_into("<H", content, vtable, struct.unpack_from("<H", content, vtable)[0] + 2)
    assert embed(bytes(content), b"metadata", {}) is None


# --- each kind of input and output --------------------------------------------------------------------------------


def metadata_of(
    path: Path, spec: InputSpec, task: TaskName, labels: tuple[str, ...] = (), output: OutputSpec | None = None
) -> Metadata:  # fmt: skip
    model, graph = inspect_model(path), read_graph(path.read_bytes())
    files = {MODEL_FILE: FileEntry("0" * 64, 1)}
    manifest = Manifest("thing", "1", task, spec, files, "", output=output or OutputSpec())
    return parse_metadata(
        format_metadata(
            manifest,
            labels,
            inputs=[stored_spec(tensor) for tensor in model.inputs],
            outputs=[stored_spec(tensor) for tensor in model.outputs],
            input_names=graph.input_names,
            output_names=graph.output_names,
            source=model,
        )
    )


def test_pixels_as_they_are_have_the_normalization_that_says_so(int8: Path) -> None:
    found = metadata_of(extracted(int8), ImageInput(color="gray"), "classification").inputs[0]
    assert found.mean == (0.0,)
    assert found.std == pytest.approx((255.0,), rel=1e-5)
    floats = metadata_of(SOURCE, ImageInput(color="gray"), "classification").inputs[0]
    assert (floats.mean, floats.std, floats.high) == ((0.0,), (1.0,), (255.0,))


def test_an_order_of_colors_that_has_no_word_is_not_called_rgb() -> None:
    assert metadata_of(SOURCE, ImageInput(color="bgr"), "classification").inputs[0].color is None


def test_sound_and_rows_are_told_too() -> None:
    path = EXAMPLES / "linescan_v1.tflite"
    sound = metadata_of(path, AudioInput(sample_rate_hz=8000), "audio_classification").inputs[0]
    assert (sound.content, sound.sample_rate_hz, sound.channels) == ("audio", 8000, 1)
    features = metadata_of(path, AudioInput(features="mfcc"), "audio_classification").inputs[0]
    assert features.content == "feature"
    rows = SignalInput(channels=("x", "y"), window=8, mean=(1.0, 2.0), std=(3.0, 4.0))
    signal = metadata_of(path, rows, "signal_classification").inputs[0]
    assert (signal.mean, signal.std, signal.description) == ((1.0, 2.0), (3.0, 4.0), "window of 8 rows: x, y")


def test_a_score_threshold_is_told_and_labels_only_where_there_are_any() -> None:
    spec = OutputSpec(score_threshold=0.25, activation="softmax")
    output = metadata_of(SOURCE, ImageInput(), "classification", output=spec).outputs[0]
    assert (output.score_threshold, output.label_files) == (0.25, ())
    assert "softmax" in output.description


@pytest.mark.shared_data
def test_the_outputs_of_a_detector_are_called_as_readers_expect(shared_data: Path) -> None:
    path = shared_data / "models/detection/coco_ssd_mobilenet_v1_no_metadata.tflite"
    spec = OutputSpec(decoder="ssd_postprocess", score_threshold=0.5)
    found = metadata_of(path, ImageInput(), "detection", ("person",), spec)
    assert [output.name for output in found.outputs] == ["location", "category", "score", "number of detections"]
    assert [output.label_files for output in found.outputs] == [(), (LABELS_FILE,), (), ()]
    boxes = found.outputs[0].boxes
    assert boxes is not None
    assert (boxes.corners, boxes.index, boxes.units) == ("boundaries", (1, 0, 3, 2), "normalized")
    assert found.outputs[2].score_threshold == 0.5
    assert found.output_groups[0].tensors == ("location", "category", "score")


@pytest.mark.shared_data
def test_author_and_license_of_the_source_are_kept(shared_data: Path) -> None:
    path = shared_data / "models/classification/mobilenet_v1_0.25_224_1_metadata_1.tflite"
    found = metadata_of(path, ImageInput(), "classification")
    assert found.author == "TensorFlow"
    assert "Apache" in found.license
