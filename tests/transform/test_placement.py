"""Where boxes of the model lie in the picture."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.transform.placement import Box, Fit, Placement, letterboxed_px

WHOLE = Box(0.0, 0.0, 1.0, 1.0)
sizes = st.tuples(st.integers(1, 5000), st.integers(1, 5000))


def test_a_stretched_picture_is_shown_whole() -> None:
    placement = Placement.fit("stretch", (640, 480), (300, 300))
    assert placement.to_source(WHOLE) == Box(0.0, 0.0, 640.0, 480.0)
    assert placement.to_source(Box(0.25, 0.5, 0.5, 1.0)) == Box(160.0, 240.0, 320.0, 480.0)


def test_a_letterboxed_picture_is_found_between_its_bars() -> None:
    placement = Placement.fit("letterbox", (640, 320), (100, 100))  # content 100 x 50, bars of 25 above and below
    assert placement.to_source(Box(0.0, 0.25, 1.0, 0.75)) == Box(0.0, 0.0, 640.0, 320.0)
    assert placement.to_source(Box(0.5, 0.5, 1.0, 0.75)) == Box(320.0, 160.0, 640.0, 320.0)


def test_a_box_in_a_letterbox_bar_has_no_area() -> None:
    placement = Placement.fit("letterbox", (640, 320), (100, 100))
    assert placement.to_source(Box(0.2, 0.0, 0.4, 0.2)).area == 0


def test_a_cropped_picture_shows_its_middle() -> None:
    placement = Placement.fit("crop", (640, 320), (100, 100))
    assert placement.to_source(WHOLE) == Box(160.0, 0.0, 480.0, 320.0)


def test_boxes_are_clipped_to_the_picture() -> None:
    placement = Placement.fit("stretch", (640, 480), (300, 300))
    assert placement.to_source(Box(-0.5, -0.1, 1.5, 2.0)) == Box(0.0, 0.0, 640.0, 480.0)


@pytest.mark.parametrize("fit", ["stretch", "letterbox", "crop"])
@given(source=sizes, target=sizes)
def test_what_is_shown_has_the_middle_of_the_picture_in_its_middle(
    fit: Fit, source: tuple[int, int], target: tuple[int, int]
) -> None:
    shown = Placement.fit(fit, source, target).shown
    content = letterboxed_px(source, target)
    # letterbox bars are whole pixels, so they may differ by one: half a target px, in source px
    slack = (
        [0.5 * s / c + 1e-6 * s for s, c in zip(source, content, strict=True)]
        if fit == "letterbox"
        else [1e-6 * s for s in source]
    )
    assert (shown.left + shown.right) / 2 == pytest.approx(source[0] / 2, abs=slack[0])
    assert (shown.top + shown.bottom) / 2 == pytest.approx(source[1] / 2, abs=slack[1])


@given(source=sizes, target=sizes)
def test_a_letterboxed_picture_fits_and_touches_a_side(source: tuple[int, int], target: tuple[int, int]) -> None:
    width, height = letterboxed_px(source, target)
    assert 1 <= width <= target[0]
    assert 1 <= height <= target[1]
    assert width == target[0] or height == target[1]
