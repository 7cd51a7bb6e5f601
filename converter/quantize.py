"""The schemes: what each does to the weights and activations of a float32 model, by ai-edge-quantizer.

Only here is ai-edge-quantizer imported, and only in a child process (`python -m converter.quantize FOLDER`): it runs
the interpreter to calibrate. Its defaults are not ours: the moving average it keeps of activation ranges depends on
the order of the samples and clips small tensors, so ranges are the plain minimum and maximum. Whether the result is
any good is left to `fidelity`.
"""

import difflib
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from converter.child import answer_parent, run_child
from converter.errors import ConversionError, RecipeError
from converter.recipe import Scheme
from converter.tflite_schema import add_signature, read_graph, renew_operator_codes
from edge_agent.transform.tensor import Array

_TESTED = "0.10."  # private names are used below; the extra pins the same
_TIMEOUT_S = 1800.0
_SOURCE_NAME, _SAMPLES_NAME, _RESULT_NAME = "quantize.in.tflite", "quantize.samples.npz", "quantize.out.tflite"


def quantize(
    content: bytes, scheme: Scheme, float_operators: Sequence[str], samples: Sequence[Sequence[Array]], folder: Path
) -> bytes:
    """The model in another scheme (`float16`, `dynamic`, `int8`), made in a child process.

    `content` is a float32 model with one signature at the most; the operators named in `float_operators` stay float.
    `samples` are the inputs as the float model takes them; only int8 uses them. The child's files go into `folder`.

    Raises:
        ConversionError, RecipeError: with the quantizer's words, or what it silently got wrong.
    """
    content = renew_operator_codes(content)
    if scheme == "int8" and not read_graph(content).signatures:
        content = add_signature(content)
    (folder / _SOURCE_NAME).write_bytes(content)
    if scheme == "int8":
        columns = [np.stack([sample[number] for sample in samples]) for number in range(len(samples[0]))]
        np.savez(folder / _SAMPLES_NAME, *columns)
    request = {"scheme": scheme, "float_operators": list(float_operators)}
    run_child(__name__, request, folder, what=f"quantizing to {scheme}", timeout_s=_TIMEOUT_S)
    result = (folder / _RESULT_NAME).read_bytes()
    if not any(tensor.quantized for tensor in read_graph(result).tensors):
        raise ConversionError(
            f"the quantizer left the model as it was: scheme {scheme} finds nothing in it to change",
            hint="--scheme float32 packages it in float; or another scheme",
        )
    return result


def quantizer_version() -> str:
    """Of the installed ai-edge-quantizer.

    Raises:
        ConversionError: it is missing, or another than was tested.
    """
    try:
        version = metadata.version("ai-edge-quantizer")
    except metadata.PackageNotFoundError as error:
        raise ConversionError(
            "converting needs ai-edge-quantizer, which is not installed", hint="pip install 'edge-deploy[converter]'"
        ) from error
    if not version.startswith(_TESTED):
        raise ConversionError(
            f"ai-edge-quantizer {version} is installed; {_TESTED}x is needed",
            hint="pip install 'ai-edge-quantizer==0.10.*'",
        )
    return version


# --- in the child -------------------------------------------------------------------------------------------------


def _quantize(folder: Path, request: Mapping[str, Any]) -> None:
    from ai_edge_quantizer import quantizer

    content = (folder / _SOURCE_NAME).read_bytes()
    rules = _rules(request["scheme"], request["float_operators"])
    work = quantizer.Quantizer(content, rules.get_quantization_recipe())
    ranges = _calibrate(content, folder, rules) if request["scheme"] == "int8" else None
    result = bytes(work.quantize(ranges, enable_progress_report=False).quantized_model)
    (folder / _RESULT_NAME).write_bytes(result)


def _rules(scheme: str, float_operators: Sequence[str]) -> Any:
    from ai_edge_quantizer import algorithm_manager, qtyping, recipe_manager

    algorithms, known = algorithm_manager.AlgorithmName, qtyping.TFLOperationName
    everything = {"regex": ".*", "operation_name": known.ALL_SUPPORTED}
    rules = recipe_manager.RecipeManager()
    if scheme == "int8":
        rules.add_static_config(**everything, activation_num_bits=8, weight_num_bits=8)
    elif scheme == "dynamic":
        rules.add_dynamic_config(**everything, num_bits=8)
        # tflite-runtime 2.14 knows no per-channel weights here and answers wrongly without a word
        tensorwise = qtyping.QuantGranularity.TENSORWISE
        rules.add_dynamic_config(".*", known.FULLY_CONNECTED, num_bits=8, granularity=tensorwise)
    else:
        rules.add_weight_only_config(**everything, num_bits=16, algorithm_key=algorithms.FLOAT_CASTING)
    for name in float_operators:
        if name not in known.__members__:
            near = difflib.get_close_matches(name.upper(), known.__members__, n=1)
            raise RecipeError(
                f"float_operators: the quantizer knows no operator {name!r}"
                + (f"; did you mean {near[0]!r}?" if near else "")
            )
        rules.add_quantization_config(".*", known[name], None, algorithms.NO_QUANTIZE)
    return rules


def _calibrate(content: bytes, folder: Path, rules: Any) -> Any:
    """The range of every activation: smallest and largest value over all samples."""
    from ai_edge_quantizer import calibrator
    from ai_edge_quantizer.utils import qsv_utils

    graph = read_graph(content)
    with np.load(folder / _SAMPLES_NAME, allow_pickle=False) as stored:
        columns = [stored[f"arr_{number}"] for number in range(len(graph.inputs))]
    samples = [dict(zip(graph.input_names, values, strict=True)) for values in zip(*columns, strict=True)]
    work = calibrator.Calibrator(
        content,
        num_threads=2,
        mode=calibrator.CalibrationMode.CALIBRATION_PROFILER_BASED,
        qsv_update_func=qsv_utils.min_max_update,
    )
    work.calibrate({graph.signatures[0].key: samples}, rules)
    ranges = work.get_model_qsvs()
    broken = sorted(
        name
        for name, limits in ranges.items()
        if not all(np.isfinite(limits[end]).all() for end in ("min", "max") if limits and end in limits)
    )
    if broken:  # quantized with these, a model kills the interpreter
        raise ConversionError(
            f"{len(broken)} activations become NaN or Inf on the calibration data: {', '.join(broken[:3])}",
            hint="check the normalization (mean, std) and the data; the float model itself overflows",
        )
    return ranges


if __name__ == "__main__":
    answer_parent("converter.quantize", _quantize)
