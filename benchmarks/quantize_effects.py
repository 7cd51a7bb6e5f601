"""What range estimators and corrections do: `python -m benchmarks.quantize_effects [MODEL.tflite ...]`, a table.

Calibrated on 100 digits, judged on 200 others: signal to noise of the logits, and the share with the float model's
first answer. The table of docs/quantization.md is what this printed for the digits example and the models of
`quantize_speed`.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from converter.quantization.apply import apply, prepare
from converter.quantization.logits import snr_db, without_scores
from converter.quantization.observe import answers
from converter.quantization.quantize import ready
from converter.quantization.treatment import Treatment
from converter.recipe import build_recipe
from converter.tflite_schema import read_graph
from edge_agent.transform.tensor import Array
from examples.digits import dataset

_EXAMPLE = Path(dataset.__file__).parent / "digits_v2.tflite"
_CALIBRATED, _JUDGED = 100, 200


def held_out(shape: tuple[int, ...], count: int) -> list[list[Array]]:
    """Digits nobody has learned from, as a model with values from -1 to 1 takes them; of one channel, from 0 to 1."""
    return _digits(shape, count, held_out=True)


def main(models: Sequence[Path]) -> None:
    print("| model | scheme | ranges and corrections | SNR, dB | same answer |")
    print("|---|---|---|---|---|")
    for path in models:
        content = ready(path.read_bytes())
        graph = read_graph(content)
        shape = graph.tensors[graph.inputs[0]].shape
        calibration = _digits(shape, _CALIBRATED, held_out=False)
        for scheme in ("int8", "weight_int4"):
            for label, treatment in _treatments(scheme):
                noise, same = _judged(content, treatment, calibration, held_out(shape, _JUDGED))
                print(f"| {path.stem} | {scheme} | {label} | {noise:.1f} | {same:.3f} |", flush=True)


def _treatments(scheme: str) -> list[tuple[str, Treatment]]:
    plain = build_recipe({}, {"scheme": scheme}).treatment
    ranges = [("percentile 99.99", "percentile"), ("mse", "mse"), ("entropy", "entropy")]
    found = [("min_max" if scheme == "int8" else "none", plain)]
    if scheme == "int8":
        found += [(label, replace(plain, range_estimator=name)) for label, name in ranges]  # type: ignore[arg-type]  # its values
    both = replace(plain, bias_correction=True, equalization=True)
    return [
        *found,
        ("bias correction", replace(plain, bias_correction=True)),
        ("equalization", replace(plain, equalization=True)),
        ("equalization and bias correction", both),
    ]


def _judged(
    content: bytes, treatment: Treatment, calibration: list[list[Array]], samples: list[list[Array]]
) -> tuple[float, float]:
    cut, soft = without_scores(content)
    result = apply(prepare(cut, treatment, calibration), treatment, calibration)
    expected, found = list(answers(cut, samples)), list(answers(result, samples))
    same = [a[0].argmax() == b[0].argmax() for a, b in zip(expected, found, strict=True)]
    return snr_db(expected, found, soft), float(np.mean(same))


def _digits(shape: tuple[int, ...], count: int, *, held_out: bool) -> list[list[Array]]:
    digits = dataset.load(held_out=held_out)
    samples = []
    for values in digits.values[:count]:
        gray = dataset.picture(values).resize((shape[2], shape[1]), Image.Resampling.BILINEAR)
        pixels = np.repeat(np.asarray(gray, np.float32)[None, ..., None], shape[-1], axis=-1)
        samples.append([pixels / 255 if shape[-1] == 1 else pixels / 127.5 - 1])
    return samples


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]] or [_EXAMPLE])
