"""Equalization and bias correction on real models: the float model stays what it was, the quantized one gets nearer."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.schema_py_generated import BuiltinOperator

from converter.convert import convert
from converter.quantization.apply import apply, prepare
from converter.quantization.bias import copy_biases, correct_biases
from converter.quantization.equalize import equalize
from converter.quantization.layers import layer_errors
from converter.quantization.logits import snr_db, without_scores
from converter.quantization.observe import activations, answers
from converter.quantization.quantize import ready
from converter.quantization.treatment import Treatment
from converter.quantization.tune import tuned
from converter.quantization.weights import layers
from converter.recipe import build_recipe
from converter.tflite_schema import constant_tensors, packed_model, read_graph, unpacked_model
from edge_agent.transform.tensor import Array
from tests.converter.conftest import EXAMPLES, Digits, order

GENERATOR = np.random.default_rng(0)
DIGITS = ready((EXAMPLES / "digits_v2.tflite").read_bytes())


def _samples(content: bytes, count: int = 16) -> list[list[Array]]:
    graph = read_graph(content)
    shapes = [graph.tensors[position].shape for position in graph.inputs]
    return [[GENERATOR.uniform(-1, 1, shape).astype(np.float32) for shape in shapes] for _ in range(count)]


def _logit_snr_db(content: bytes, treatment: Treatment, samples: list[list[Array]]) -> float:
    cut, soft = without_scores(content)
    result = apply(prepare(cut, treatment, samples), treatment, samples)
    return snr_db(list(answers(cut, samples)), list(answers(result, samples)), soft)


def _tensorwise(scheme: str, bits: int) -> Treatment:
    rules = [
        dataclasses.replace(
            rule,
            op_config=dataclasses.replace(
                rule.op_config,
                weight_tensor_config=dataclasses.replace(
                    rule.op_config.weight_tensor_config, granularity="TENSORWISE", num_bits=bits
                ),
            ),
        )
        for rule in build_recipe({}, {"scheme": scheme}).rules
        if rule.op_config.weight_tensor_config is not None
    ]
    return Treatment(tuple(rules))


def _unbalanced(content: bytes) -> bytes:
    """The same function with channels of very different size, as batch normalization leaves them."""
    changed = bytearray(content)
    tensors, graph = constant_tensors(changed), read_graph(content)
    found = {layer.output: layer for layer in layers(graph)}
    for second in found.values():
        first = found.get(second.input)
        if first is None or {first.operator.name, second.operator.name} - {"CONV_2D", "DEPTHWISE_CONV_2D"}:
            continue
        out, bias, into = (tensors[place] for place in (first.weights, first.bias, second.weights))
        assert out is not None
        assert bias is not None
        assert into is not None
        size = np.exp2(GENERATOR.integers(0, 5, bias.values.size)).astype(np.float32)
        depthwise = first.operator.name == "DEPTHWISE_CONV_2D"
        out.values[...] /= size.reshape((1, 1, 1, -1) if depthwise else (-1, 1, 1, 1))
        bias.values[...] /= size
        into.values[...] *= size.reshape(1, 1, 1, -1)
    return bytes(changed)


@pytest.mark.shared_data
@pytest.mark.parametrize("name", ["vww_96_float", "mobilenet_v1_0.25_224_1_metadata_1"])
def test_an_equalized_model_computes_what_it_did(name: str, shared_data: Path) -> None:
    content = ready((shared_data / f"models/classification/{name}.tflite").read_bytes())
    samples = _samples(content)
    equalized, pairs = equalize(content, samples)
    assert pairs > 10
    assert equalized != content
    before, after = (np.concatenate([one[0] for one in answers(model, samples)]) for model in (content, equalized))
    assert np.abs(after - before).max() < 1e-4


@pytest.mark.shared_data
def test_equalization_mends_channels_of_very_different_size(shared_data: Path) -> None:
    content = _unbalanced(ready((shared_data / "models/classification/vww_96_float.tflite").read_bytes()))
    samples = _samples(content)
    plain = _tensorwise("weight_int8", 8)
    with_it = dataclasses.replace(plain, equalization=True)
    assert _logit_snr_db(content, with_it, samples) > _logit_snr_db(content, plain, samples) + 3


@pytest.mark.shared_data
@pytest.mark.parametrize("scheme", ["weight_int4", "dynamic_int4"])
def test_bias_correction_brings_the_answers_nearer(scheme: str, shared_data: Path) -> None:
    content = ready((shared_data / "models/classification/vww_96_float.tflite").read_bytes())
    samples = _samples(content)
    plain = build_recipe({}, {"scheme": scheme}).treatment
    corrected = dataclasses.replace(plain, bias_correction=True)
    assert _logit_snr_db(content, corrected, samples) > _logit_snr_db(content, plain, samples) + 1


@pytest.mark.filterwarnings("ignore:Warning. Enabling:UserWarning")  # of the quantizer's own interpreter
def test_bias_correction_takes_back_what_wrong_weights_do_to_the_mean() -> None:
    """Of a model with int32 biases too: the weights of its first layer are all put off by some steps."""
    treatment = build_recipe({}, {"scheme": "int8"}).treatment
    samples = _samples(DIGITS)
    spoiled = bytearray(apply(prepare(DIGITS, treatment, samples), treatment, samples))
    graph = read_graph(bytes(spoiled))
    first = next(iter(layers(graph)))
    weights, bias = (constant_tensors(spoiled)[place] for place in (first.weights, first.bias))
    assert weights is not None
    assert bias is not None
    assert bias.values.dtype == np.int32
    weights.values[...] = np.clip(weights.values.astype(np.int16) + 12, -127, 127).astype(np.int8)
    output, positive = graph.tensors[first.output].name, _shifted(samples, 1.0)

    def mean(content: bytes) -> float:
        return float(np.mean([one[output].mean() for one in activations(content, positive, [output])]))

    mended = correct_biases(DIGITS, bytes(spoiled), positive)
    assert abs(mean(mended) - mean(DIGITS)) < 0.3 * abs(mean(bytes(spoiled)) - mean(DIGITS))


@pytest.mark.filterwarnings("ignore:Warning. Enabling:UserWarning")
def test_weights_behind_the_flatbuffer_are_seen_and_their_biases_corrected() -> None:
    """Where ai-edge-quantizer puts all that is large, once a model has 256 KB of it."""
    treatment = build_recipe({}, {"scheme": "weight_int4"}).treatment
    samples = _shifted(_samples(DIGITS), 1.0)
    inside = apply(prepare(DIGITS, treatment, samples), treatment, samples)
    outside = _behind(inside)
    assert _constants(outside) == _constants(inside)
    assert read_graph(outside) == read_graph(inside)
    corrected = correct_biases(DIGITS, outside, samples)
    assert _constants(corrected) == _constants(correct_biases(DIGITS, inside, samples))
    assert _constants(corrected) != _constants(outside)
    copied = copy_biases(correct_biases(DIGITS, inside, samples), outside)
    assert copied == corrected


def _constants(content: bytes) -> list[bytes | None]:
    return [None if view is None else view.values.tobytes() for view in constant_tensors(bytearray(content))]


def _behind(content: bytes) -> bytes:
    """The model with the bytes of all buffers behind it (schema.fbs, table Buffer)."""
    model = unpacked_model(content, "is changed by a test")
    moved = {}
    for number, buffer in enumerate(model.buffers):
        if buffer.data is not None and len(buffer.data):
            moved[number] = bytes(bytearray(buffer.data))
            buffer.data, buffer.offset, buffer.size = None, 2, 2  # numbers of the same length as those to come
    behind = bytearray(packed_model(model, len(content)))
    start = len(behind)
    for number, data in moved.items():
        behind += bytes(-len(behind) % 16)
        model.buffers[number].offset, model.buffers[number].size = len(behind), len(data)
        behind += data
    front = packed_model(model, len(content))
    assert len(front) == start
    return front + bytes(behind[start:])


def _shifted(samples: list[list[Array]], by: float) -> list[list[Array]]:
    """With a mean that is not zero: else wrong weights do nothing to it."""
    return [[(array + by) / 2 for array in sample] for sample in samples]


@pytest.mark.shared_data
@pytest.mark.filterwarnings("ignore:Warning. Enabling:UserWarning")  # of the quantizer's own interpreter
def test_the_best_estimator_is_no_worse_than_the_plain_one_and_is_told(shared_data: Path) -> None:
    content = ready((shared_data / "models/classification/cifar10_resnet8_float.tflite").read_bytes())
    samples = _samples(content, 24)
    treatment = build_recipe({}, {"scheme": "int8"}).treatment
    assert treatment.range_estimator == "best"
    found = tuned(prepare(content, treatment, samples), treatment, samples)
    plain = dataclasses.replace(treatment, range_estimator="min_max")
    assert found.treatment != plain
    assert ("bias correction" in found.note) == found.treatment.bias_correction
    assert _logit_snr_db(content, found.treatment, samples) > _logit_snr_db(content, plain, samples)
    expected = list(answers(content, samples))
    kept = apply(prepare(content, plain, samples), plain, samples)
    nearest, nearer = (snr_db(expected, list(answers(made, samples)), (False,)) for made in (found.content, kept))
    assert nearest > nearer
    assert read_graph(found.content).output_names == read_graph(content).output_names


@pytest.mark.filterwarnings("ignore:Warning. Enabling:UserWarning")
def test_the_logits_of_a_model_that_ends_in_sigmoids_are_never_clipped() -> None:
    model = unpacked_model(DIGITS, "is changed by a test")
    [softmax] = [
        operator for operator in model.subgraphs[0].operators if operator.outputs == model.subgraphs[0].outputs
    ]
    code = model.operatorCodes[softmax.opcodeIndex]
    code.builtinCode = code.deprecatedBuiltinCode = BuiltinOperator.LOGISTIC
    softmax.builtinOptions, softmax.builtinOptionsType = None, 0
    content = packed_model(model, len(DIGITS))
    graph = read_graph(content)
    logits = graph.tensors[graph.operators[-1].inputs[0]].name
    assert graph.operators[-1].name == "LOGISTIC"
    samples = _samples(content)
    clipped = build_recipe({}, {"scheme": "int8"}).treatment
    clipped = dataclasses.replace(clipped, range_estimator="percentile", range_percentile=50.0)
    plain, found = (
        prepare(content, treatment, samples).ranges
        for treatment in (dataclasses.replace(clipped, range_estimator="min_max"), clipped)
    )
    assert plain is not None
    assert found is not None
    clipped_ones = {name for name in found if np.max(found[name]["max"]) < np.max(plain[name]["max"])}
    assert clipped_ones
    assert logits not in clipped_ones


def test_a_cut_model_gives_the_logits_under_the_same_name() -> None:
    cut, soft = without_scores(DIGITS)
    assert soft == (True,)
    before, after = read_graph(DIGITS), read_graph(cut)
    assert after.output_names == before.output_names
    assert "SOFTMAX" not in {operator.name for operator in after.operators}
    samples = _samples(DIGITS, 3)
    for logits, scores in zip(answers(cut, samples), answers(DIGITS, samples), strict=True):
        powers = np.exp(logits[0] - logits[0].max())
        assert np.allclose(powers / powers.sum(), scores[0], atol=1e-5)


def test_a_constant_added_to_all_logits_is_no_noise() -> None:
    logits = [[GENERATOR.standard_normal((1, 10)).astype(np.float32)] for _ in range(4)]
    moved = [[one[0] + 3] for one in logits]
    assert snr_db(logits, moved, (True,)) > 100
    assert snr_db(logits, moved, (False,)) < 0


def test_the_error_of_each_layer_is_told_with_what_it_is_stored_in(digits: Digits, tmp_path: Path) -> None:
    keep = {"scheme": "int8", "float_operators": ["FULLY_CONNECTED"]}
    done = convert(order(tmp_path / "digits-1.edge", options=keep, calibrate=digits.calibration))
    found = {layer.operator: layer for layer in done.sections.layers}
    assert found["CONV_2D"].precision == "int8"
    assert found["FULLY_CONNECTED"].precision == "float32"
    assert all(layer.snr_db is None or 10 < layer.snr_db < 80 for layer in done.sections.layers)
    graph = read_graph(DIGITS)
    ranges = {one.name: one for one in done.sections.ranges}
    inputs = ranges[graph.tensors[graph.inputs[0]].name]
    assert inputs.smallest == pytest.approx(0, abs=0.05)
    assert inputs.largest == pytest.approx(1, abs=0.1)
    assert sum(inputs.counts) > 1000


def test_a_layer_that_is_the_same_has_no_error() -> None:
    assert {layer.snr_db for layer in layer_errors(DIGITS, DIGITS, _samples(DIGITS, 2))} == {None}


def test_weights_shared_by_two_layers_are_left_alone() -> None:
    model = unpacked_model(DIGITS, "is changed by a test")
    for tensor in model.subgraphs[0].tensors:
        if len(tensor.shape) == 4 and model.buffers[tensor.buffer].data is not None:
            extra = type(tensor)()
            extra.name, extra.shape, extra.buffer, extra.type = b"again", tensor.shape, tensor.buffer, tensor.type
            model.subgraphs[0].tensors.append(extra)
            break
    shared = packed_model(model, len(DIGITS))
    views = [view for view in constant_tensors(bytearray(shared)) if view is not None and view.shared]
    assert len(views) == 2
    assert (
        equalize(shared, _samples(DIGITS, 2))[1] < equalize(DIGITS, _samples(DIGITS, 2))[1]
        or not equalize(DIGITS, _samples(DIGITS, 2))[1]
    )
