"""Every scheme that ships, on real models: loaded, run and compared; and recipes of our own and of the quantizer's."""

import json
from pathlib import Path

import numpy as np
import pytest
from ai_edge_quantizer import recipe as their_recipes

from converter.convert import Converted, convert
from converter.errors import CalibrationError, RecipeError
from converter.quantization.rules import OPERATIONS
from converter.recipe import build_recipe, read_recipe, shipped_names, shipped_recipe
from converter.tflite_schema import constant_tensors, read_graph
from edge_agent.release.archive import read_artifact
from edge_agent.release.manifest import MODEL_FILE
from tests.converter.conftest import EXAMPLES, Digits, order, picture_accuracy

FLOAT_ACCURACY = 0.9698  # examples/digits/README.md
STATIC = ("int8", "int8_float_io", "int16x8")


def _converted(name: str, digits: Digits, folder: Path) -> Converted:
    recipe = folder / "recipe.toml"
    task = (EXAMPLES / "digits.toml").read_text(encoding="utf-8").replace('labels = "', f'labels = "{EXAMPLES}/')
    recipe.write_text(task, encoding="utf-8")
    return convert(order(folder / "digits-1.edge", recipe=recipe, options=dict(read_recipe(Path(name))),
                         calibrate=digits.calibration))  # fmt: skip


@pytest.mark.parametrize(
    ("name", "largest_share", "drop"),
    [
        ("weight_int8", 0.27, 0.015),
        ("weight_int4", 0.17, 0.05),
        ("dynamic_int4", 0.17, 0.05),
        ("blockwise_int4", 0.95, 0.03),
        ("int16x8", 0.28, 0.015),
        ("int8_float_io", 0.27, 0.015),
    ],
)
def test_every_recipe_that_ships_makes_a_smaller_model_that_still_knows_its_digits(
    name: str, largest_share: float, drop: float, digits: Digits, tmp_path: Path
) -> None:
    done = _converted(name, digits, tmp_path)
    comparison = done.fidelity.comparison
    assert comparison.float_model is not None
    assert comparison.converted.size_bytes <= largest_share * comparison.float_model.size_bytes
    assert picture_accuracy(tmp_path / "digits-1.edge", digits, tmp_path / "release") >= FLOAT_ACCURACY - drop


@pytest.mark.parametrize("name", ["int8_float_io", "int16x8"])
def test_with_float_io_the_model_takes_and_gives_floats(name: str, digits: Digits, tmp_path: Path) -> None:
    _converted(name, digits, tmp_path)
    graph = read_graph(read_artifact(tmp_path / "digits-1.edge").members[MODEL_FILE])
    assert {graph.tensors[position].type for position in (*graph.inputs, *graph.outputs)} == {"FLOAT32"}


def test_a_scheme_known_to_be_slow_says_so(digits: Digits, tmp_path: Path) -> None:
    done = _converted("int16x8", digits, tmp_path)
    assert any("no XNNPACK kernel takes int16" in note for note in done.notes)


def test_int4_weights_are_int4_and_have_a_scale_for_each_channel(digits: Digits, tmp_path: Path) -> None:
    _converted("weight_int4", digits, tmp_path)
    content = read_artifact(tmp_path / "digits-1.edge").members[MODEL_FILE]
    graph = read_graph(content)
    packed = [number for number, tensor in enumerate(graph.tensors) if tensor.type == "INT4"]
    assert packed
    for number in packed:
        view = constant_tensors(bytearray(content))[number]
        assert view is not None
        assert view.scales.size == view.values.shape[view.axis]
        assert (view.values.min(), view.values.max()) >= (-8, 6)
        assert np.abs(view.values).max() <= 8


def test_operators_that_stay_float_are_named_with_where_and_why(digits: Digits, tmp_path: Path) -> None:
    options = {"scheme": "int8", "float_operators": ["SOFTMAX"]}
    left = convert(order(tmp_path / "digits-1.edge", options=options, calibrate=digits.calibration)).fidelity.left_float
    graph = read_graph((EXAMPLES / "digits_v2.tflite").read_bytes())
    outputs = {graph.tensors[operator.outputs[0]].name for operator in graph.operators if operator.name == "SOFTMAX"}
    assert [(one.operator, one.why) for one in left] == [("SOFTMAX", "the recipe keeps it in float")] * len(outputs)
    assert {one.tensor for one in left} == outputs


def test_an_operator_the_quantizer_cannot_take_is_named_with_that_reason(digits: Digits, tmp_path: Path) -> None:
    done = _converted("blockwise_int4", digits, tmp_path)
    reasons = {one.operator: one.why for one in done.fidelity.left_float}
    assert reasons["CONV_2D"] == "no rule takes it"


def test_a_recipe_of_the_quantizer_is_taken_as_it_is(digits: Digits, tmp_path: Path) -> None:
    recipe = tmp_path / "theirs.json"
    recipe.write_text(json.dumps(their_recipes.static_wi8_ai8()), encoding="utf-8")
    told = {"task": "classification", "input": {"mean": [0.0], "std": [255.0]}}
    output = tmp_path / "digits-1.edge"
    done = convert(order(output, recipe=recipe, options=told, calibrate=digits.calibration))
    assert done.fidelity.scheme == "mixed"
    graph = read_graph(read_artifact(output).members[MODEL_FILE])
    assert {graph.tensors[position].type for position in graph.inputs} == {"INT8"}


@pytest.mark.parametrize(
    "name",
    ["dynamic_wi8_afp32", "dynamic_wi4_afp32", "weight_only_wi8_afp32", "weight_only_wi4_afp32", "static_wi8_ai8",
     "static_wi8_ai16", "dynamic_legacy_wi8_afp32"],
)  # fmt: skip
def test_every_recipe_that_the_quantizer_ships_is_read(name: str, tmp_path: Path) -> None:
    recipe = tmp_path / "theirs.json"
    theirs = getattr(their_recipes, name)()
    recipe.write_text(json.dumps(theirs), encoding="utf-8")
    built = build_recipe(read_recipe(recipe), {})
    assert [rule.regex for rule in built.rules] == [rule["regex"] for rule in theirs]
    assert built.rules[0].op_config.weight_tensor_config is not None
    assert built.rules[0].op_config.weight_tensor_config.num_bits == theirs[0]["op_config"]["weight_tensor_config"][
        "num_bits"
    ]  # fmt: skip


def test_our_list_of_operations_is_that_of_the_quantizer() -> None:
    from ai_edge_quantizer import qtyping

    assert {member.value for member in qtyping.TFLOperationName} == OPERATIONS


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"regex": "no_such_layer", "algorithm_key": "no_quantize"}, "1 of 1 rules match no operator of this model"),
        ({"regex": ".*", "operation": "TANH", "algorithm_key": "no_quantize"}, "operation 'TANH'"),
    ],
)
def test_a_rule_that_matches_nothing_is_an_error(
    rule: dict[str, str], words: str, digits: Digits, tmp_path: Path
) -> None:
    options = {"scheme": "int8", "rules": [rule]}
    with pytest.raises(RecipeError, match=words) as caught:
        convert(order(tmp_path / "digits-1.edge", options=options, calibrate=digits.calibration))
    assert "CONV_2D" in str(caught.value.hint)
    assert not list(tmp_path.glob("*.edge"))


def test_an_operator_that_the_model_has_not_is_an_error(digits: Digits, tmp_path: Path) -> None:
    options = {"scheme": "int8", "float_operators": ["TANH"]}
    with pytest.raises(RecipeError, match="the model has no TANH; it has"):
        convert(order(tmp_path / "digits-1.edge", options=options, calibrate=digits.calibration))


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"regex": "("}, "unterminated"),
        ({"regex": ".*", "operation": "CONV2D"}, "did you mean 'CONV_2D'"),
        ({"regex": ".*", "algorithm_key": "MIN_MAX"}, "expected one of no_quantize"),
        ({"regex": ".*", "op_konfig": {}}, "did you mean 'op_config'"),
        ({"regex": ".*"}, "weight_tensor_config is missing"),
        ({"regex": ".*", "op_config": {"weight_tensor_config": {"num_bits": 7}}}, "2, 4, 8 or 16"),
        ({"regex": ".*", "op_config": {"weight_tensor_config": {"num_bits": 8, "bits": 8}}}, "unknown key"),
    ],
)
def test_a_wrong_rule_is_refused_by_its_place(rule: dict[str, object], words: str) -> None:
    with pytest.raises(RecipeError, match=r"rules\[0\]") as caught:
        build_recipe({"scheme": "mixed", "rules": [rule]}, {})
    assert words in str(caught.value)


def test_a_rule_the_quantizer_refuses_is_told_with_its_words(digits: Digits, tmp_path: Path) -> None:
    blockwise = {"num_bits": 4, "granularity": "BLOCKWISE_32"}
    rule = {"regex": ".*", "operation": "CONV_2D", "op_config": {"weight_tensor_config": blockwise}}
    with pytest.raises(RecipeError, match=r"rules\[0\] .*the quantizer refuses it"):
        convert(order(tmp_path / "digits-1.edge", options={"scheme": "mixed", "rules": [rule]}))
    assert not list(tmp_path.glob("*.edge"))


def test_rules_follow_those_of_the_scheme() -> None:
    keep = {"regex": "^scores;", "algorithm_key": "no_quantize"}
    rules = build_recipe({"scheme": "int8", "rules": [keep]}, {}).rules
    assert (len(rules), rules[-1].regex) == (1 + len(shipped_recipe("int8")["rules"]), "^scores;")


def test_mixed_without_rules_changes_nothing_and_says_so(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="has no rules"):
        convert(order(tmp_path / "digits-1.edge", options={"scheme": "mixed"}))


def test_rules_are_nothing_for_a_float_scheme() -> None:
    with pytest.raises(RecipeError, match="nothing is quantized in scheme float32"):
        build_recipe({"rules": [{"regex": ".*", "algorithm_key": "no_quantize"}]}, {})


def test_a_recipe_is_found_by_its_name_and_a_file_of_that_name_goes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_recipe(Path("int8_float_io"))["float_io"] is True
    (tmp_path / "int8_float_io").write_text("golden_vectors = 1\n")
    assert read_recipe(Path("int8_float_io")) == {"golden_vectors": 1}
    with pytest.raises(RecipeError, match="int9") as caught:
        read_recipe(Path("int9"))
    assert all(name in str(caught.value.hint) for name in shipped_names())


@pytest.mark.parametrize("name", STATIC)
def test_static_schemes_say_that_they_need_data(name: str, tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="needs representative data"):
        convert(order(tmp_path / "digits-1.edge", options=dict(read_recipe(Path(name)))))


@pytest.mark.parametrize("content", ["{", "3", '"int8"', "[1, 2]", '{"scheme": "int8"}{}'])
def test_json_that_is_no_recipe_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.json"
    path.write_text(content)
    with pytest.raises(RecipeError):
        build_recipe(read_recipe(path), {})
