"""Plain ai-edge-quantizer, its stock recipes and its own calibration, on the float .tflite of source models: `python -m
benchmarks.source_models_quantizer FOLDER`. Files and output as of `source_models_tensorflow`.

What it cannot do is told on stderr and left out.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
from ai_edge_quantizer import quantizer, recipe

from converter.quantization.quantize import ready


def main(folder: Path) -> dict[str, float]:
    """Seconds, by name and scheme."""
    seconds = {}
    for planned in json.loads((folder / "plan.json").read_text(encoding="utf-8")):
        name = planned["name"]
        source = folder / f"{name}.ready.tflite"
        source.write_bytes(ready((folder / f"{name}.float32.tflite").read_bytes()))
        with np.load(folder / f"{name}.npz") as stored:
            columns = {key: stored[key] for key in stored.files}
        samples = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        for scheme, rules in (("dynamic", recipe.dynamic_wi8_afp32()), ("int8", recipe.static_wi8_ai8())):
            started = time.perf_counter()
            try:
                plain = quantizer.Quantizer(str(source), rules)
                seen = plain.calibrate({_signature(source): samples}) if plain.need_calibration else None
                content = plain.quantize(seen).quantized_model
            except (ValueError, RuntimeError, KeyError, NotImplementedError) as error:
                print(f"ai-edge-quantizer, {name}, {scheme}: {error}", file=sys.stderr)
                continue
            seconds[f"{name}.{scheme}"] = time.perf_counter() - started
            assert content is not None
            (folder / f"{name}.quantizer.{scheme}.tflite").write_bytes(content)
    return seconds


def _signature(model: Path) -> str:
    from ai_edge_litert.interpreter import Interpreter

    return str(next(iter(Interpreter(str(model)).get_signature_list())))


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
