"""Conversions of other people's models on real pictures and recordings."""

from pathlib import Path

import pytest

from converter.convert import convert
from edge_agent.inference.model import Model
from edge_agent.release.archive import read_artifact
from edge_agent.release.golden import parse_golden
from edge_agent.release.inputs import ImageInput
from edge_agent.release.manifest import GOLDEN_FILE, LABELS_FILE, MODEL_FILE
from edge_agent.tasks.prediction import Prediction
from edge_agent.transform.image import read_image
from edge_agent.transform.rows import parse_rows
from tests.converter.conftest import order, unpack

pytestmark = pytest.mark.shared_data


def first(model: Model, picture: Path) -> Prediction:
    prepared = model.prepare_image(read_image(picture))
    return model.decode(model.invoke(prepared), prepared)[0]


def activity_accuracy(model: Model, logs: Path) -> float:
    """Share of the windows of all logs named rightly; the class is the first digit of the folder."""
    right = total = 0
    for log in sorted(logs.rglob("*.csv")):
        windower = model.windower()
        with open(log, encoding="utf-8") as lines:
            for row in parse_rows(lines):
                window = windower.push(row.values) if row.values else None
                if window is not None:
                    prepared = model.prepare_rows(window)
                    total += 1
                    found = model.decode(model.invoke(prepared), prepared)[0].index
                    right += found == int(log.parent.name[0])
    assert total > 900
    return right / total


def test_cifar10_keeps_naming_cat_and_bird_in_int8(shared_data: Path, tmp_path: Path) -> None:
    output = tmp_path / "cifar-1.edge"
    options = {
        "scheme": "int8",
        "input": {"fit": "crop", "mean": [0.0], "std": [1.0], "decode": "full"},
        "limits": {"min_top1_agreement": 0.6},  # photographs that are none of its ten classes
    }
    source = shared_data / "models/classification/cifar10_resnet8_float.tflite"
    done = convert(order(output, source=source, recipe=None, options=options, calibrate=shared_data / "images"))
    assert done.fidelity.comparison.converted.size_bytes < 110_000
    with unpack(output, tmp_path / "release") as model:
        for name, index in (("cat.bmp", 3), ("bird.bmp", 2)):
            found = first(model, shared_data / "images" / name)
            assert (found.index, found.score > 0.9) == (index, True)


def test_mnist_with_an_open_batch_reads_the_digits(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "models/classification/mnist_conv_fc_float.tflite"
    pictures = shared_data / "images/mnist"
    for scheme in ("dynamic", "int8"):
        output = tmp_path / scheme / "mnist-1.edge"
        options = {"scheme": scheme, "input": {"mean": [0.0], "std": [255.0]}}
        convert(order(output, source=source, recipe=None, options=options, calibrate=pictures))
        with unpack(output, tmp_path / scheme / "release") as model:
            assert [first(model, pictures / f"sample{digit}.png").index for digit in range(5)] == list(range(5))


def test_small_layers_stay_float_in_the_dynamic_scheme_and_depthwise_ones_are_only_stored_in_int8(
    shared_data: Path, tmp_path: Path
) -> None:
    output = tmp_path / "fruit-1.edge"
    source = shared_data / "models/classification/tm_fruit_v1.tflite"
    options = {"scheme": "dynamic", "input": {"mean": [127.0], "std": [127.0]}}
    done = convert(order(output, source=source, recipe=None, options=options, calibrate=shared_data / "images"))
    assert dict(done.fidelity.float_operators) == {"CONV_2D": 8, "DEPTHWISE_CONV_2D": 7}
    assert all("too few" in left.why for left in done.fidelity.left_float)
    assert done.fidelity.comparison.converted.partitions == 1
    assert done.fidelity.comparison.top1_agreement == 1.0
    golden = parse_golden(read_artifact(output).members[GOLDEN_FILE])
    assert len(golden) == 1  # 600 KB each in float
    assert any("instead of 4" in note for note in done.notes)


def test_labels_and_normalization_come_from_the_metadata(shared_data: Path, tmp_path: Path) -> None:
    output = tmp_path / "mobilenet-1.edge"
    source = shared_data / "models/classification/mobilenet_v1_0.25_224_1_metadata_1.tflite"
    done = convert(order(output, source=source, recipe=None, options={"scheme": "float16"}))
    artifact = read_artifact(output)
    assert isinstance(artifact.manifest.input, ImageInput)
    assert artifact.manifest.input.mean == (127.5,)
    assert artifact.manifest.input.decode == "reduced"
    assert artifact.members[LABELS_FILE].count(b"\n") == 1001
    assert any("labels from the model's metadata" in note for note in done.notes)
    with unpack(output, tmp_path / "release") as model:
        assert first(model, shared_data / "images/burger.jpg").label == "cheeseburger"


def test_a_detector_that_is_quantized_already_is_packaged_unchanged(shared_data: Path, tmp_path: Path) -> None:
    output = tmp_path / "ssd-1.edge"
    source = shared_data / "models/detection/coco_ssd_mobilenet_v1_metadata.tflite"
    convert(
        order(
            output,
            source=source,
            recipe=None,
            options={"scheme": "unchanged", "golden_vectors": 2},
            calibrate=shared_data / "images",
        )
    )
    artifact = read_artifact(output)
    assert artifact.manifest.task == "detection"
    assert artifact.members[MODEL_FILE] == source.read_bytes()
    with unpack(output, tmp_path / "release") as model:
        assert first(model, shared_data / "images/pets.jpg").label == "dog"


def test_a_quantized_activity_model_keeps_its_accuracy_unchanged(shared_data: Path, tmp_path: Path) -> None:
    output = tmp_path / "har-1.edge"
    convert(
        order(
            output,
            source=shared_data / "models/sensor/har_qcnn_8x8x8.tflite",
            recipe=None,
            options={"scheme": "unchanged", "input": {"window": 52, "stride": 52}},
            calibrate=shared_data / "sensor/har",
        )
    )
    with unpack(output, tmp_path / "release") as model:
        assert activity_accuracy(model, shared_data / "sensor/har") == pytest.approx(0.9916, abs=0.003)  # expected.json


def test_a_plain_function_is_compared_by_the_range_of_its_values(shared_data: Path, tmp_path: Path) -> None:
    output = tmp_path / "sine-1.edge"
    source = shared_data / "models/sensor/sine_float.tflite"
    done = convert(order(output, source=source, recipe=None, options={"scheme": "dynamic"}))
    assert read_artifact(output).manifest.task == "regression"
    assert done.fidelity.comparison.max_disagreement is not None
    assert done.fidelity.comparison.max_disagreement < 0.05
