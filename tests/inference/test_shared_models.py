"""How far real models disagree: decoded otherwise, quantized, retrained. For what they answer: `test_expected`."""

from pathlib import Path
from typing import Any

import pytest

from edge_agent.inference.model import Model, assemble
from edge_agent.inference.tflite import open_engine
from edge_agent.release.inputs import ImageInput
from edge_agent.release.manifest import parse_manifest
from edge_agent.tasks.agreement import output_ranges
from edge_agent.transform.image import read_image
from edge_agent.transform.tensor import Array
from tests.sim.artifact import make_members

pytestmark = pytest.mark.shared_data


def model_of(path: Path, spec: ImageInput, task: Any = "classification") -> Model:
    manifest = make_members(b"x", source=spec, task=task)["manifest.json"]
    return assemble(parse_manifest(manifest), (), open_engine(path))


def real(model: Model, picture: Path) -> list[Array]:
    prepared = model.prepare_image(read_image(picture))
    return list(model.real_outputs(model.invoke(prepared)))


def test_reduced_decoding_changes_the_answer_less_than_another_filter_does(shared_data: Path) -> None:
    path = shared_data / "models/classification/mobilenet_v2_1.0_224_quant.tflite"
    picture = shared_data / "images/cat_720p.jpg"
    with (
        model_of(path, ImageInput(decode="full")) as full,
        model_of(path, ImageInput()) as reduced,
        model_of(path, ImageInput(decode="full", resample="nearest")) as nearest,
    ):
        expected = real(full, picture)
        by_decoding = full.disagreements([expected], [real(reduced, picture)])[0]
        by_filter = full.disagreements([expected], [real(nearest, picture)])[0]
        assert full.top1_agrees(expected, real(reduced, picture))
    assert by_decoding < 0.1
    assert by_decoding < by_filter


def test_float_and_quantized_agree_and_a_retrained_model_does_not(shared_data: Path) -> None:
    folder = shared_data / "models/classification"
    picture = shared_data / "images/cat.bmp"
    with (
        model_of(folder / "cifar10_resnet8_float.tflite", ImageInput(fit="crop", decode="full")) as plain,
        model_of(folder / "cifar10_resnet8_int8.tflite", ImageInput(fit="crop", decode="full")) as int8,
        model_of(folder / "tm_fruit_v1.tflite", ImageInput(mean=(127.0,), std=(127.0,))) as fruit,
        model_of(folder / "tm_fruit_v2_headswap.tflite", ImageInput(mean=(127.0,), std=(127.0,))) as retrained,
    ):
        assert plain.disagreements([real(plain, picture)], [real(int8, picture)])[0] < 0.05
        assert fruit.disagreements([real(fruit, picture)], [real(retrained, picture)])[0] > 0.3


def test_a_detector_agrees_with_itself_on_another_decoding_and_not_on_another_picture(shared_data: Path) -> None:
    path = shared_data / "models/detection/coco_ssd_mobilenet_v1_metadata.tflite"
    with (
        model_of(path, ImageInput(decode="full"), "detection") as full,
        model_of(path, ImageInput(resample="bicubic"), "detection") as other,
    ):
        pets, cat = shared_data / "images/pets.jpg", shared_data / "images/cat_720p.jpg"
        expected = real(full, pets)
        assert full.disagreements([expected], [expected]) == [0.0]
        assert full.disagreements([expected], [real(other, pets)])[0] < 0.3
        assert full.top1_agrees(expected, real(other, pets))
        assert full.disagreements([expected], [real(full, cat)])[0] > 0.4
        assert not full.top1_agrees(expected, real(full, cat))


def test_raw_outputs_are_measured_by_their_range_over_all_vectors(shared_data: Path) -> None:
    with model_of(shared_data / "models/pose/movenet_single_pose_lightning_ptq.tflite", ImageInput(), "raw") as pose:
        one, other = (real(pose, shared_data / f"images/{name}.bmp") for name in ("squat", "cat"))
        spread = output_ranges([one, other])[0]
        assert 0 < spread <= 1.0
        found = pose.disagreements([one, other], [one, one])
        assert found[0] == 0.0
        assert found[1] > 0.3
