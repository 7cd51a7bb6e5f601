"""Made-up answers and truths, the same each time: what our metrics and the references are both given."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from converter.metrics.objects import FoundObject, Picture, TrueObject

Floats = NDArray[np.float64]
CATEGORIES = ("cat", "dog", "bird", "never found")


@dataclass(frozen=True, slots=True)
class Answers:
    """Of a classifier, a regression and a detector of anomalies."""

    truth: NDArray[np.intp]
    scores: Floats
    measured: Floats = field(default_factory=lambda: np.zeros(0))
    told: Floats = field(default_factory=lambda: np.zeros(0))


def answers(samples: int = 300, classes: int = 7) -> Answers:
    """Scores with ties in them (as int8 gives), and one class that no sample is of."""
    generator = np.random.default_rng(5)
    truth = generator.integers(0, classes - 1, samples)
    raw = generator.normal(size=(samples, classes))
    raw[np.arange(samples), truth] += 1.5
    shares = np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True)
    measured = generator.normal(size=(samples, 2)) * [3, 0.2] + [10, 1]
    told = measured + generator.normal(size=(samples, 2)) * [1, 0.1]
    return Answers(truth, np.round(shares * 255) / 256, measured, told)


def pictures_with_boxes(count: int = 40) -> list[Picture]:
    """Crowds, objects of all sizes, equal scores, categories without objects, pictures without anything."""
    generator = np.random.default_rng(11)
    return [_boxes(generator) for _ in range(count)] + [Picture([], []), _crowded(generator)]


def pictures_with_poses(count: int = 25) -> list[Picture]:
    generator = np.random.default_rng(12)
    return [_poses(generator) for _ in range(count)]


def _boxes(generator: np.random.Generator) -> Picture:
    true, found = [], []
    for _ in range(int(generator.integers(0, 9))):
        name = CATEGORIES[int(generator.integers(0, 4))]
        size = float(np.exp(generator.uniform(2, 5.5)))
        left, top = (float(value) for value in generator.uniform(0, 300, 2))
        height = size * float(generator.uniform(0.5, 2))
        box = (left, top, left + size, top + height)
        area = size * height * float(generator.uniform(0.4, 1))
        true.append(TrueObject(name, box, area, crowd=bool(generator.random() < 0.12)))
        for _ in range(int(generator.integers(0, 4))):
            shift = generator.normal(size=4) * size * float(generator.choice([0.02, 0.08, 0.2]))
            moved = [float(value) for value in np.array(box) + shift]
            moved = [moved[0], moved[1], max(moved[2], moved[0] + 1), max(moved[3], moved[1] + 1)]
            told = name if generator.random() < 0.9 else CATEGORIES[int(generator.integers(0, 3))]
            if told != "never found":
                corners = (moved[0], moved[1], moved[2], moved[3])
                found.append(FoundObject(told, round(float(generator.random()), 2), corners))
    return Picture(true, found)


def _crowded(generator: np.random.Generator) -> Picture:
    """More found objects of one category than count (100): only far down in the list are the right ones."""
    corners = [(10.0 * place, 0.0, 10.0 * place + 9.0, 30.0) for place in range(150)]
    found = [FoundObject("cat", 0.9 - 0.005 * place, box) for place, box in enumerate(corners)]
    true = [TrueObject("cat", corners[place], 270.0) for place in (3, 9, 10, 80, 99, 100, 140)]
    return Picture(true, found)


def _poses(generator: np.random.Generator) -> Picture:
    true, found = [], []
    for _ in range(int(generator.integers(1, 5))):
        size = float(np.exp(generator.uniform(3.2, 5.5)))
        left, top = (float(value) for value in generator.uniform(0, 300, 2))
        points = np.c_[generator.uniform(left, left + size, 17), generator.uniform(top, top + size, 17)]
        seen = generator.integers(0, 3, 17) if generator.random() < 0.85 else np.zeros(17)
        box = (left, top, left + size, top + size)
        crowd = bool(generator.random() < 0.1)
        true.append(TrueObject("person", box, size * size * 0.6, crowd=crowd, keypoints=np.c_[points, seen]))
        for _ in range(int(generator.integers(0, 3))):
            moved = points + generator.normal(size=(17, 2)) * size * float(generator.choice([0.02, 0.06, 0.15]))
            score = round(float(generator.random()), 2)
            found.append(FoundObject("person", score, box, np.c_[moved, np.ones(17)]))
    return Picture(true, found)
