"""scikit-learn's handwritten digits as the two things a device sees: gray pictures and rows of a line scanner.

No TensorFlow here: the demo and the tests write real files with this, `train.py` trains on the same split. A picture is
an 8x8 digit upscaled to 128x128; the line scanner has eight photodiodes and passes over a digit in eight rows, values
0 to 16. The last `HELD_OUT` digits of a seeded shuffle are never trained on.

    python examples/digits/dataset.py pictures FOLDER --count 100
    python examples/digits/dataset.py rows FILE.csv --count 100
"""

import argparse
import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

HELD_OUT = 397
PICTURE_PX = 128
CHANNELS = tuple(f"diode_{number}" for number in range(8))
_SEED = 20261121


@dataclass(frozen=True, slots=True)
class Digits:
    """Values 0 to 16 as uint8 [n, 8, 8], and which digit each one is, int64 [n]."""

    values: NDArray[Any]
    classes: NDArray[Any]


def load(*, held_out: bool) -> Digits:
    """The digits that were held out of training, or those that were trained on; always in the same order."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    order = np.random.default_rng(_SEED).permutation(len(bunch.target))
    chosen = order[-HELD_OUT:] if held_out else order[:-HELD_OUT]
    return Digits(bunch.images[chosen].astype(np.uint8), bunch.target[chosen])


def picture(values: NDArray[Any]) -> Image.Image:
    """One digit as a gray picture of `PICTURE_PX` square."""
    gray = np.minimum(values.astype(np.uint16) * 16, 255).astype(np.uint8)
    return Image.fromarray(gray).resize((PICTURE_PX, PICTURE_PX), Image.Resampling.BICUBIC)


def write_pictures(
    folder: Path, count: int, *, held_out: bool = True, start: int = 0, per_class: bool = False
) -> list[tuple[Path, int]]:
    """Write `count` digits as PNG, from the `start`-th on; gives each file and its class.

    With `per_class` they go into the folders `0` to `9`, else flat; either way the name ends in the class.
    """
    digits = load(held_out=held_out)
    written = []
    for number in range(start, min(start + count, len(digits.classes))):
        digit = int(digits.classes[number])
        path = (folder / str(digit) if per_class else folder) / f"digit_{number:04d}_is_{digit}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(digits.values[number]).save(path)
        written.append((path, digit))
    return written


def write_rows(path: Path, count: int, *, held_out: bool = True, start: int = 0) -> list[int]:
    """Write `count` digits as a CSV of eight rows each, from the `start`-th on; gives their classes."""
    digits = load(held_out=held_out)
    chosen = slice(start, start + count)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(CHANNELS)
        writer.writerows(digits.values[chosen].reshape(-1, len(CHANNELS)).tolist())
    return [int(digit) for digit in digits.classes[chosen]]


def main() -> None:
    parser = argparse.ArgumentParser(description="write digits as files")
    parser.add_argument("what", choices=("pictures", "rows"))
    parser.add_argument("target", type=Path)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--trained-on", action="store_true", help="those trained on, instead of the held-out ones")
    parser.add_argument("--per-class", action="store_true", help="pictures in one folder per class")
    arguments = parser.parse_args()
    held_out = not arguments.trained_on
    if arguments.what == "pictures":
        write_pictures(
            arguments.target,
            arguments.count,
            held_out=held_out,
            start=arguments.start,
            per_class=arguments.per_class,
        )
    else:
        write_rows(arguments.target, arguments.count, held_out=held_out, start=arguments.start)


if __name__ == "__main__":
    main()
