"""FastestDet and UltraFace."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import ModelError, Reason
from edge_agent.release.outputs import OutputSpec
from edge_agent.tasks.decoder import build_decoder
from edge_agent.tasks.detection import guess_decoder
from edge_agent.transform.placement import Placement
from edge_agent.transform.prepared import Prepared
from edge_agent.transform.tensor import Array, Quantization
from tests.tasks.heads.scenes import Thing, assert_is, detect, detect_quantized, floats, picture, things

FASTEST = OutputSpec(decoder="fastestdet", score_threshold=0.4)
FACE = OutputSpec(decoder="ultraface", score_threshold=0.4)
ROWS, COLUMNS, CLASSES = 6, 10, 4
INPUT = picture(96, 160)


# --- FastestDet -------------------------------------------------------------------------------------------------


def encode_map(thing: Thing, *, channels_first: bool) -> list[Array]:
    """utils/tool.py, handle_preds, read backwards; the cell is the one the center lies in."""
    numbers = np.zeros((5 + CLASSES, ROWS, COLUMNS))
    y, x = thing.center[0] * ROWS, thing.center[1] * COLUMNS
    row, column = min(int(y), ROWS - 1), min(int(x), COLUMNS - 1)
    size = np.array(thing.size[::-1])
    moved = np.clip([x - column, y - row], 0, 0.999999)
    numbers[:5, row, column] = (thing.score, *np.arctanh(moved), *np.log(size / (1 - size)))
    numbers[5 + thing.index, row, column] = thing.score
    if not channels_first:
        numbers = numbers.transpose(1, 2, 0)
    return [np.ascontiguousarray(numbers[None], np.float32)]


@given(things(CLASSES), st.booleans())
def test_a_box_comes_back_whichever_way_the_map_lies(thing: Thing, channels_first: bool) -> None:  # noqa: FBT001
    found = detect(FASTEST, encode_map(thing, channels_first=channels_first), INPUT)
    assert len(found) == 1
    assert_is(found[0], thing)


# What FastestDet.onnx gives for two pictures of our test data (pictures resized as its own example does, with OpenCV's
# INTER_AREA), in every cell that scores 0.75 or more: row, column, the five numbers of the box, class, its score.
Cell = tuple[int, int, tuple[float, ...], int, float]
PETS: list[Cell] = [
    (8, 7, (0.7841, 0.7793, 0.7908, -0.8195, 0.4776), 16, 0.9416),
    (8, 8, (0.8547, 0.0924, 0.6866, -0.9535, 0.404), 16, 0.979),
    (8, 9, (0.7972, -1.1027, 0.5212, -1.0448, 0.376), 16, 0.955),
    (9, 7, (0.8175, 0.8158, -0.2747, -0.9497, 0.3502), 16, 0.9285),
    (9, 8, (0.8506, -0.0927, -0.2987, -0.9361, 0.306), 16, 0.9573),
    (9, 9, (0.8002, -1.0906, -0.3734, -1.0225, 0.318), 16, 0.9038),
    (13, 17, (0.8403, 0.9744, 0.9757, -0.8084, -0.05), 16, 0.737),
    (13, 18, (0.8628, -0.1658, 1.0777, -0.8236, -0.0393), 16, 0.7042),
    (14, 17, (0.8788, 1.106, -0.1341, -0.7902, -0.1116), 16, 0.8059),
    (14, 18, (0.8814, -0.1552, -0.1075, -0.8194, -0.1104), 16, 0.7015),
]
SQUAT: list[Cell] = [
    (12, 10, (0.8908, 0.6703, 0.7559, -0.0849, 1.1008), 0, 0.9978),
    (12, 11, (0.8798, -0.5064, 0.5944, -0.0765, 1.083), 0, 0.9982),
    (13, 10, (0.9017, 0.5414, -0.125, -0.0917, 1.1035), 0, 0.9992),
    (13, 11, (0.8794, -0.5395, -0.2391, -0.0785, 1.0577), 0, 0.9992),
    (14, 10, (0.7777, 0.4467, -1.0996, -0.1441, 1.0367), 0, 0.9971),
    (14, 11, (0.778, -0.5555, -1.1468, -0.1074, 1.0131), 0, 0.9973),
]


@pytest.mark.parametrize(
    ("recorded", "size_px", "expected"),
    [
        (PETS, (512, 430), [(16, 0.9024, (117, 39, 260, 297)), (16, 0.8489, (334, 170, 494, 373))]),
        (SQUAT, (500, 610), [(0, 0.9395, (119, 128, 358, 586))]),
    ],
    ids=["pets", "squat"],
)
def test_the_real_models_numbers_give_the_published_objects(
    recorded: list[Cell], size_px: tuple[int, int], expected: list[tuple[int, float, tuple[int, ...]]]
) -> None:
    """`fastestdet:*` in expected.json of the shared data."""
    numbers = np.zeros((1, 85, 22, 22), np.float32)
    for row, column, of_box, index, score in recorded:
        numbers[0, :5, row, column] = of_box
        numbers[0, 5 + index, row, column] = score
    placement = Placement.fit("stretch", size_px, (352, 352))
    found = detect(replace(FASTEST, score_threshold=0.65), [numbers], picture(352, 352), placement=placement)
    assert len(found) == len(expected)
    for prediction, (index, score, corners) in zip(found, expected, strict=True):
        assert prediction.index == index
        assert prediction.score == pytest.approx(score, abs=0.0002)
        assert prediction.box is not None
        box = prediction.box
        assert (box.left, box.top, box.right, box.bottom) == pytest.approx(corners, abs=1)


def test_a_quantized_map_is_off_by_a_quantization_step_at_most() -> None:
    thing = Thing((0.2, 0.3, 0.7, 0.75), 2, 0.88)
    for channels_first in (True, False):
        arrays = encode_map(thing, channels_first=channels_first)
        found = detect_quantized(FASTEST, arrays, [Quantization(1 / 64, 0)], INPUT)
        assert len(found) == 1
        assert_is(found[0], thing, abs_box=0.01, abs_score=0.01)


def test_a_background_class_of_a_map_is_no_object() -> None:
    arrays = encode_map(Thing((0.2, 0.3, 0.7, 0.75), 2, 0.9), channels_first=True)
    assert detect(replace(FASTEST, background_class=2), arrays, INPUT) == []


@pytest.mark.parametrize("shape", [(1, 6, 10, 5), (1, 7, 9, 9), (1, 60, 9), (2, 6, 10, 9), (1, 192, 320, 9)])
def test_other_maps_do_not_fit(shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match="fastestdet needs one map") as caught:
        build_decoder("detection", FASTEST, floats(np.zeros(shape)), (), INPUT)
    assert caught.value.reason is Reason.INCOMPATIBLE
    assert caught.value.hint


def test_more_labels_than_a_map_has_classes_are_a_mismatch() -> None:
    arrays = encode_map(Thing((0.2, 0.3, 0.7, 0.75), 2, 0.9), channels_first=True)
    assert detect(FASTEST, arrays, INPUT, labels=tuple("abcd"))[0].label == "c"
    with pytest.raises(ModelError, match="has 4 classes; there are 5 labels"):
        detect(FASTEST, arrays, INPUT, labels=tuple("abcde"))


# --- UltraFace --------------------------------------------------------------------------------------------------


def encode_faces(*found: Thing, count: int = 4420) -> list[Array]:
    boxes, scores = np.zeros((1, count, 4), np.float32), np.zeros((1, count, 2), np.float32)
    scores[..., 0] = 1
    for position, thing in enumerate(found):
        boxes[0, 7 * position] = [thing.sides[side] for side in (1, 0, 3, 2)]
        scores[0, 7 * position] = (1 - thing.score, thing.score)
    return [boxes, scores]


@given(things(1))
def test_a_face_comes_back(thing: Thing) -> None:
    arrays = encode_faces(thing)
    found = detect(FACE, arrays, picture(240, 320))
    assert len(found) == 1
    assert_is(found[0], replace(thing, index=1))
    assert found[0].label == "face"
    other_order = detect(replace(FACE, output_order=(1, 0)), arrays[::-1], picture(240, 320))
    assert other_order == found


def test_faces_that_overlap_are_one_and_px_are_divided_by_the_input() -> None:
    one = Thing((0.1, 0.1, 0.5, 0.4), 0, 0.9)
    arrays = encode_faces(replace(one, score=0.6), one, Thing((0.6, 0.6, 0.9, 0.9), 0, 0.7))
    assert [round(found.score, 4) for found in detect(FACE, arrays, picture(240, 320))] == [0.9, 0.7]
    arrays[0] *= (320, 240, 320, 240)
    assert_is(detect(replace(FACE, box_units="pixels"), arrays, picture(240, 320))[0], replace(one, index=1))


def test_a_face_may_be_labelled_with_or_without_the_background() -> None:
    arrays = encode_faces(Thing((0.1, 0.1, 0.5, 0.4), 0, 0.9))
    for labels in (("visage",), ("rien", "visage")):
        assert detect(FACE, arrays, picture(240, 320), labels=labels)[0].label == "visage"


def test_a_quantized_face_is_off_by_a_quantization_step_at_most() -> None:
    thing = Thing((0.2, 0.3, 0.7, 0.75), 1, 0.88)
    found = detect_quantized(FACE, encode_faces(thing), [Quantization(1 / 255, -128)] * 2, picture(240, 320))
    assert_is(found[0], thing, abs_box=1 / 255, abs_score=1 / 255)


@pytest.mark.parametrize("spec", [FACE, FASTEST])
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_what_are_no_numbers_are_the_models_fault(spec: OutputSpec, wrong: float) -> None:
    thing = Thing((0.2, 0.3, 0.7, 0.75), 0, 0.88)
    arrays = encode_faces(thing) if spec is FACE else encode_map(thing, channels_first=True)
    arrays[0].reshape(-1)[-1] = wrong
    inputs = picture(240, 320) if spec is FACE else INPUT
    decoder = build_decoder("detection", spec, floats(*arrays), (), inputs)
    with pytest.raises(ModelError, match="not numbers") as caught:
        decoder.decode(arrays, Prepared())
    assert caught.value.reason is Reason.TRIAL_ERRORS


@pytest.mark.parametrize("shapes", [[(1, 9, 4)], [(1, 9, 4), (1, 9, 1)], [(1, 9, 4), (1, 8, 2)]])
def test_other_outputs_do_not_fit(shapes: list[tuple[int, ...]]) -> None:
    with pytest.raises(ModelError, match="ultraface needs two outputs") as caught:
        build_decoder("detection", FACE, floats(*map(np.zeros, shapes)), (), picture(240, 320))
    assert caught.value.reason is Reason.INCOMPATIBLE


# --- guesses ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shapes", "size", "expected"),
    [
        ([(1, 85, 22, 22)], (352, 352), "fastestdet"),
        ([(1, 22, 22, 85)], (352, 352), "fastestdet"),
        ([(1, 22, 22, 21)], (352, 352), None),  # may be a map for segmentation
        ([(1, 33, 33, 21)], (513, 513), None),
        ([(1, 4420, 4), (1, 4420, 2)], (240, 320), "ultraface"),
        ([(1, 17640, 2), (1, 17640, 4)], (480, 640), "ultraface"),
        ([(1, 10, 4), (1, 10), (1, 10), (1,)], (300, 300), "ssd_postprocess"),
        ([], (300, 300), None),
    ],
)
def test_they_are_guessed_by_their_shapes(
    shapes: list[tuple[int, ...]], size: tuple[int, int], expected: str | None
) -> None:
    assert guess_decoder(floats(*map(np.zeros, shapes)), picture(*size)) == expected
