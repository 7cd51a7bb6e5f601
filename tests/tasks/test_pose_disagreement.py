"""How far two answers of a pose model differ: by what a person would see."""

import numpy as np
import pytest

from edge_agent.tasks.pose import disagreement
from edge_agent.tasks.poses import Pose


def pose(*points: tuple[float, float, float], score: float = 0.8) -> Pose:
    return Pose(np.array(points, np.float32), score)


ONE = pose((0.2, 0.2, 0.9), (0.4, 0.6, 0.7))
OTHER = pose((0.8, 0.8, 0.9), (0.7, 0.9, 0.7), score=0.6)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([ONE, OTHER], 0),
        ([OTHER, ONE], 0),
        ([ONE._replace(score=0.7), OTHER], 0.1),
        ([pose((0.2, 0.2, 0.9), (0.43, 0.64, 0.7)), OTHER], 0.05),
        ([pose((0.2, 0.2, 0.6), (0.4, 0.6, 0.3)), OTHER], 0),  # a keypoint's own score counts only where it is not seen
        ([pose((0.2, 0.2, 0.9), (9.0, 9.0, 0.1)), OTHER], 0.5),  # 0.7 - 0.2
        ([pose((0.2, 0.2, 0.9), (99.0, 0.6, 0.7)), OTHER], 1),
        ([ONE], 0.3),  # 0.6 - 0.3
        ([OTHER], 0.5),
        ([ONE, OTHER, OTHER._replace(score=0.45)], 0.15),
        ([ONE, OTHER, OTHER._replace(score=0.2)], 0),
        ([], 0.5),
    ],
)
def test_poses_disagree_by_what_a_person_would_see(found: list[Pose], expected: float) -> None:
    assert disagreement([ONE, OTHER], found, 0.3) == pytest.approx(expected, abs=1e-6)
    assert disagreement(found, [ONE, OTHER], 0.3) == pytest.approx(expected, abs=1e-6)


def test_whoever_is_below_the_threshold_in_both_is_nobodys_business() -> None:
    assert disagreement([ONE._replace(score=0.1)], [OTHER._replace(score=0.2)], 0.3) == 0
    assert disagreement([], [], 0.3) == 0
