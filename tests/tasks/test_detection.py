"""Objects with boxes in px of the picture."""

from itertools import permutations

import numpy as np
import pytest

from edge_agent.errors import ModelError, Reason
from edge_agent.release.outputs import OutputSpec
from edge_agent.tasks.decoder import build_decoder
from edge_agent.tasks.detection import DetectionDecoder, OutputOrder, output_order
from edge_agent.tasks.prediction import Box, Prediction
from edge_agent.transform.placement import Placement
from edge_agent.transform.prepared import Prepared
from edge_agent.transform.tensor import Array, TensorSpec

LABELS = ("person", "bicycle")
PICTURE = Placement.fit("stretch", (200, 100), (300, 300))


def tensors(*names: str) -> tuple[TensorSpec, ...]:
    shapes = ((1, 3, 4), (1, 3), (1, 3), (1,))
    return tuple(TensorSpec(name, shape, np.dtype(np.float32)) for name, shape in zip(names, shapes, strict=True))


OPERATOR = tensors("D", "D:1", "D:2", "D:3")


def outputs(*found: tuple[tuple[float, float, float, float], float, float], count: float | None = None) -> list[Array]:
    """(ymin, xmin, ymax, xmax), class, score."""
    rows = [*found, *[((0.0, 0.0, 0.0, 0.0), 0.0, 0.0)] * (3 - len(found))]
    boxes, classes, scores = (np.array([[row[part] for row in rows]], np.float32) for part in range(3))
    return [boxes, classes, scores, np.array([len(found) if count is None else count], np.float32)]


ONE = ((0.1, 0.2, 0.5, 0.6), 1.0, 0.75)
OTHER = ((0.0, 0.0, 1.0, 1.0), 0.0, 0.5)


def test_boxes_are_in_px_of_the_picture_and_the_best_comes_first() -> None:
    found = build_decoder("detection", OutputSpec(), OPERATOR, LABELS).decode(
        outputs(OTHER, ONE), Prepared(placement=PICTURE)
    )
    assert [prediction.label for prediction in found] == ["bicycle", "person"]
    assert found[0].box is not None
    corners = (found[0].box.left, found[0].box.top, found[0].box.right, found[0].box.bottom)
    assert corners == pytest.approx((40, 10, 120, 50), abs=1e-4)
    assert found[1] == Prediction(0, 0.5, "person", Box(0, 0, 200, 100))


def test_only_as_many_as_the_operator_counted_are_taken() -> None:
    decoder = build_decoder("detection", OutputSpec(), OPERATOR, LABELS)
    assert len(decoder.decode(outputs(ONE, OTHER, count=1), Prepared(placement=PICTURE))) == 1
    assert decoder.decode(outputs(ONE, OTHER, count=0), Prepared(placement=PICTURE)) == []
    assert len(decoder.decode(outputs(ONE, OTHER, count=99), Prepared(placement=PICTURE))) == 2  # the third has no area


def test_threshold_and_top_k_shorten_the_list() -> None:
    assert (
        len(
            build_decoder("detection", OutputSpec(score_threshold=0.6), OPERATOR, ()).decode(
                outputs(ONE, OTHER), Prepared(placement=PICTURE)
            )
        )
        == 1
    )
    assert (
        len(
            build_decoder("detection", OutputSpec(top_k=1), OPERATOR, ()).decode(
                outputs(ONE, OTHER), Prepared(placement=PICTURE)
            )
        )
        == 1
    )


def test_a_class_beyond_the_labels_has_none() -> None:
    beyond = (ONE[0], 7.0, 0.9)
    found = build_decoder("detection", OutputSpec(), OPERATOR, LABELS).decode(
        outputs(beyond), Prepared(placement=PICTURE)
    )
    assert (found[0].index, found[0].label) == (7, None)


def test_what_lies_in_the_bar_of_a_letterbox_is_no_object() -> None:
    placement = Placement.fit("letterbox", (200, 100), (300, 300))
    found = build_decoder("detection", OutputSpec(), OPERATOR, LABELS).decode(
        outputs(((0.0, 0.1, 0.2, 0.3), 0.0, 0.9), ((0.25, 0.0, 0.75, 1.0), 1.0, 0.8)), Prepared(placement=placement)
    )
    assert [prediction.label for prediction in found] == ["bicycle"]
    assert found[0].box == Box(0, 0, 200, 100)


def test_boxes_that_are_no_numbers_are_the_models_fault() -> None:
    with pytest.raises(ModelError, match="not numbers"):
        build_decoder("detection", OutputSpec(), OPERATOR, ()).decode(
            outputs(((np.nan, 0, 1, 1), 0.0, 0.9)), Prepared(placement=PICTURE)
        )


@pytest.mark.parametrize(
    "names",
    [
        (
            "TFLite_Detection_PostProcess",
            "TFLite_Detection_PostProcess:1",
            "TFLite_Detection_PostProcess:2",
            "TFLite_Detection_PostProcess:3",
        ),
        (
            "StatefulPartitionedCall:3",
            "StatefulPartitionedCall:2",
            "StatefulPartitionedCall:1",
            "StatefulPartitionedCall:0",
        ),
        ("location", "category", "score", "number of detections"),
        ("boxes", "classes", "scores", "count"),
    ],
)
def test_outputs_are_told_apart_in_any_order(names: tuple[str, ...]) -> None:
    known = tensors(*names)
    for order in permutations(range(4)):
        shuffled = tuple(known[position] for position in order)
        expected = OutputOrder(*(order.index(part) for part in range(4)))
        assert output_order(OutputSpec(), shuffled) == expected


def test_the_manifest_may_state_the_order() -> None:
    shuffled = (OPERATOR[2], OPERATOR[0], OPERATOR[3], OPERATOR[1])
    assert output_order(OutputSpec(output_order=(1, 3, 0, 2)), shuffled) == OutputOrder(1, 3, 0, 2)


@pytest.mark.parametrize("order", [(0, 0, 1, 2), (0, 1, 2, 7), (1, 0, 2, 3)])
def test_a_stated_order_that_does_not_fit_is_incompatible(order: tuple[int, int, int, int]) -> None:
    with pytest.raises(ModelError, match="in the order") as caught:
        output_order(OutputSpec(output_order=order), OPERATOR)
    assert caught.value.reason is Reason.INCOMPATIBLE


@pytest.mark.parametrize("few", [OPERATOR[:3], OPERATOR[:1], (*OPERATOR, OPERATOR[1]), (OPERATOR[1],) * 4])
def test_other_outputs_are_incompatible(few: tuple[TensorSpec, ...]) -> None:
    with pytest.raises(ModelError, match="four outputs") as caught:
        build_decoder("detection", OutputSpec(), few, LABELS)
    assert caught.value.reason is Reason.INCOMPATIBLE
    assert caught.value.hint


def test_a_class_that_stands_for_nothing_is_not_told() -> None:
    decoder = build_decoder("detection", OutputSpec(background_class=0), OPERATOR, LABELS)
    assert [found.index for found in decoder.decode(outputs(ONE, OTHER), Prepared())] == [1]


def test_boxes_in_px_of_the_input_are_divided_by_its_size() -> None:
    px = ((30.0, 20.0, 150.0, 60.0), 1.0, 0.75)
    inputs = (TensorSpec("image", (1, 300, 100, 3), np.dtype(np.float32)),)
    decoder = build_decoder("detection", OutputSpec(box_units="pixels"), OPERATOR, LABELS, inputs)
    found = decoder.decode(outputs(px), Prepared(placement=PICTURE))
    assert found[0].box is not None
    corners = (found[0].box.left, found[0].box.top, found[0].box.right, found[0].box.bottom)
    assert corners == pytest.approx((40, 10, 120, 50), abs=1e-4)


def test_a_decoder_of_another_task_finds_no_objects() -> None:
    with pytest.raises(ModelError, match="'movenet' does not find objects") as caught:
        build_decoder("detection", OutputSpec(decoder="movenet"), OPERATOR, LABELS)
    assert caught.value.reason is Reason.INCOMPATIBLE
    assert caught.value.hint is not None
    assert "yolov8" in caught.value.hint


def test_what_may_be_judged_reaches_down_to_half_the_threshold() -> None:
    """Of heads that are read here; the operator has chosen by itself."""
    inputs = (TensorSpec("image", (1, 64, 64, 3), np.dtype(np.float32)),)
    head = (TensorSpec("head", (1, 5, 84), np.dtype(np.float32)),)
    numbers = np.zeros((1, 5, 84), np.float32)
    numbers[0, :, :3] = ((0.2, 0.5, 0.8), (0.5, 0.5, 0.5), (0.1, 0.1, 0.1), (0.1, 0.1, 0.1), (0.7, 0.35, 0.2))
    decoder = DetectionDecoder.build(OutputSpec(decoder="yolov8", score_threshold=0.5), head, (), inputs)
    assert [found.score for found in decoder.decode([numbers], Prepared())] == pytest.approx([0.7])
    assert decoder.objects([numbers]).scores.tolist() == pytest.approx([0.7, 0.35])
    assert decoder.capacity == 100
    operator = DetectionDecoder.build(OutputSpec(score_threshold=0.6), OPERATOR, ())
    assert operator.objects(outputs(OTHER, ONE)).scores.tolist() == [0.75, 0.5]
    assert operator.capacity == 3
