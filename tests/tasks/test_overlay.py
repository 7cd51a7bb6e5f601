"""Classes painted over a picture."""

import numpy as np
import pytest

from edge_agent.tasks.overlay import overlay, voc_colors
from edge_agent.transform.placement import Box

GRAY = np.full((4, 8, 3), 100, np.uint8)
MAP = np.array([[0, 1]], np.uint8)


def test_the_colors_are_those_of_pascal_voc() -> None:
    colors = voc_colors()
    known = {
        0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 3: (128, 128, 0), 4: (0, 0, 128), 8: (64, 0, 0),
        15: (192, 128, 128), 20: (0, 64, 128), 255: (224, 224, 192),
    }  # fmt: skip
    assert {index: tuple(colors[index].tolist()) for index in known} == known
    assert len({tuple(color) for color in colors.tolist()}) == 256


def test_half_of_the_color_is_painted_over_the_nearest_pixels_and_the_background_is_not() -> None:
    found = overlay(GRAY, MAP)
    assert (found[:, :4] == 100).all()
    assert (found[:, 4:] == (114, 50, 50)).all()
    assert (GRAY == 100).all()


def test_alpha_0_changes_nothing_and_alpha_1_hides_the_picture() -> None:
    assert (overlay(GRAY, MAP, alpha=0.0) == GRAY).all()
    assert (overlay(GRAY, MAP, alpha=1.0)[:, 4:] == (128, 0, 0)).all()
    with pytest.raises(ValueError, match="alpha"):
        overlay(GRAY, MAP, alpha=1.5)


def test_the_background_may_be_painted_and_colors_may_be_ones_own() -> None:
    colors = np.array([[255, 255, 255]], np.uint8)
    assert (overlay(GRAY, MAP, colors=colors, alpha=1.0, background=None) == 255).all()


def test_the_map_is_laid_where_the_model_looked() -> None:
    found = overlay(GRAY, MAP, where=Box(2, 1, 6, 3), alpha=1.0)
    changed = (found != GRAY).any(axis=-1)
    assert changed[1:3, 4:6].all()
    assert changed.sum() == 4
    assert (overlay(GRAY, MAP, where=Box(20, 20, 30, 30)) == GRAY).all()
