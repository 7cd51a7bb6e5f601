"""What is drawn, where, and that nothing a model says can break it. What it looks like, people have to see."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edge_agent.inference.annotate import ClassMapLayer, Look, color_of, draw, draw_answers
from edge_agent.tasks.prediction import Keypoint, Prediction
from edge_agent.transform.placement import Box
from tests.sim.gallery import plain
from tests.sim.results import answer, found


def changed(before: Image.Image, after: Image.Image) -> np.ndarray[Any, Any]:
    """Where a pixel is another: [h, w]."""
    different: np.ndarray[Any, Any] = (np.asarray(before) != np.asarray(after)).any(axis=-1)
    return different


def test_a_box_is_drawn_where_it_is_and_the_picture_stays_as_it_was() -> None:
    image = plain((320, 240))
    drawn = draw(image, [found("cat", box=(100, 100, 200, 180))])
    assert not changed(image, plain((320, 240))).any()
    where = changed(image, drawn)
    assert where[100, 100:200].all()  # top edge
    assert where[100:180, 100].all()  # left
    assert where[179, 100:199].all()  # bottom
    assert not where[105:175, 105:195].any()  # inside
    assert not where[185:, :].any()
    assert tuple(np.asarray(drawn)[179, 150]) == color_of(0)


def test_boxes_are_scaled_with_the_picture() -> None:
    image = plain((160, 120))
    where = changed(image, draw(image, [found("cat", box=(100, 100, 200, 180))], scale=(0.5, 0.5)))
    assert where[50, 50:100].all()
    assert not where[92:, :].any()


@pytest.mark.parametrize("box", [(0, 0, 60, 60), (250, 0, 320, 60), (0, 200, 60, 240), (-50, -50, 500, 500)])
def test_words_stay_inside_of_the_picture(box: tuple[float, ...]) -> None:
    """What would be cut off by an edge is moved: the whole flag is there."""
    image = plain((320, 240))
    drawn = np.asarray(draw(image, [found("a longer label", 0.5, box)]))
    flag = (drawn == color_of(0)).all(axis=-1)
    assert flag.sum() > 1000


def test_predictions_and_their_json_are_drawn_the_same() -> None:
    image = plain()
    points = tuple(Keypoint(float(20 + 10 * number), 50.0 + 3 * number, 0.9) for number in range(17))
    one = Prediction(3, 0.5, "person", Box(10, 20, 200, 150), points)
    assert not changed(draw(image, [one]), draw(image, [one.to_json()])).any()


def test_keypoints_are_joined_and_unseen_ones_left_out() -> None:
    image = plain()

    def points(score: float) -> Any:
        return [{"name": None, "x": 50.0 + 100 * number, "y": 100.0, "score": score} for number in range(2)]

    seen = {"label": "person", "index": 0, "score": 0.9, "keypoints": points(0.9)}
    where = changed(image, draw(image, [seen], look=Look(skeleton=((0, 1),))))
    assert where[100, 50:150].all()
    assert not changed(image, draw(image, [seen], look=Look(skeleton=())))[100, 60:140].any()
    assert not changed(image, draw(image, [{**seen, "keypoints": points(0.1)}], look=Look(skeleton=((0, 1),)))).any()


def test_what_has_no_place_is_written_into_the_corner() -> None:
    image = plain()
    for words in (
        {"label": "crow", "index": 0, "score": 0.9},
        {"label": "temperature", "index": 0, "score": 1.0, "value": 20.5, "unit": "C"},
        {"label": None, "index": 7, "score": 0.5, "share": 0.003},
    ):
        where = changed(image, draw(image, [words]))
        assert where[:30, :100].any()
        assert not where[120:, :].any()


def test_classes_of_pixels_are_painted_over_their_part() -> None:
    image = plain((320, 240))
    half = np.zeros((4, 4), np.uint8)
    half[:, 2:] = 1
    where = changed(image, draw(image, [], look=Look(ClassMapLayer(half))))
    assert where[:, 160:].all()
    assert not where[:, :160].any()
    part = ClassMapLayer(np.ones((1, 1), np.uint8), where=Box(0, 0, 320, 240))
    where = changed(image, draw(image, [], look=Look(part), scale=(0.5, 0.5)))
    assert where[:120, :160].all()
    assert not where[120:, :].any()


def test_what_is_said_of_a_crop_is_written_at_its_object() -> None:
    image = plain()
    inner = [{"label": "chickadee", "index": 5, "score": 0.8}]
    bird = found("bird", box=(100, 100, 200, 180))
    alone = draw_answers(image, {"find": answer(bird, task="detection")})
    both = {"find": answer({**bird, "stages": {"name": inner}}, task="detection"), "name": answer(*inner)}
    where = changed(alone, draw_answers(image, both))
    assert where[70:100, 100:].any()  # the flag is longer
    assert not where[:50, :].any()  # and nothing is in the corner


def test_the_region_that_is_looked_at_is_outlined() -> None:
    image = plain()
    where = changed(image, draw_answers(image, {"main": answer()}, roi=Box(50, 60, 150, 160)))
    assert where[60, 50:150].all()
    assert not where[70:150, 60:140].any()


@pytest.mark.parametrize("size_px", [(1, 1), (8, 3), (96, 96), (2000, 1000)])
def test_pictures_of_any_size_can_be_drawn_in(size_px: tuple[int, int]) -> None:
    predictions = [found("cat", box=(0, 0, *size_px)), {"label": "crow", "index": 0, "score": 0.9}]
    assert draw(plain(size_px), predictions).size == size_px


numbers = st.floats(-1e6, 1e6)
trees = st.fixed_dictionaries(
    {"label": st.none() | st.text(max_size=60), "index": st.integers(0, 100_000), "score": st.floats(0, 1)},
    optional={
        "box": st.lists(numbers, min_size=4, max_size=4),
        "value": st.floats(allow_nan=False, allow_infinity=False),
        "share": st.floats(0, 1),
        "unit": st.text(max_size=5),
        "keypoints": st.lists(
            st.fixed_dictionaries({"name": st.none(), "x": numbers, "y": numbers, "score": st.floats(0, 1)}), max_size=3
        ),
    },
)


@settings(deadline=None, max_examples=60)
@given(st.lists(trees, max_size=5))
def test_whatever_a_model_says_can_be_drawn(predictions: list[Any]) -> None:
    assert draw(plain((64, 48)), predictions, look=Look(skeleton=((0, 1), (1, 2), (5, 9)))).size == (64, 48)
