"""Recipes: three layers, checked strictly."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converter.errors import RecipeError
from converter.package import parse_output_name
from converter.recipe import SCHEMES, build_recipe, read_recipe, shipped_recipe
from edge_agent.release.inputs import AudioInput, ImageInput, SignalInput, TensorInput
from edge_agent.release.manifest import IDENTIFIER, VERSION

TOLD = {
    "task": "classification",
    "input": {"kind": "image", "color": "rgb", "mean": [127.5], "std": [127.5]},
    "output": {"activation": "softmax"},
}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_ships_a_whole_recipe(scheme: str) -> None:
    assert build_recipe({}, {"scheme": scheme}).scheme == scheme
    assert shipped_recipe(scheme)["scheme"] == scheme


def test_options_lie_above_the_file_and_the_file_above_what_the_model_tells() -> None:
    written = {"scheme": "int8", "input": {"mean": [0.0], "std": [255.0], "fit": "crop"}}
    recipe = build_recipe(written, {"input": {"fit": "letterbox"}}, told=TOLD)
    assert recipe.input == ImageInput(color="rgb", fit="letterbox", mean=(0.0,), std=(255.0,))
    assert recipe.task == "classification"
    assert recipe.output.activation == "softmax"
    assert recipe.limits.min_top1_agreement == 0.9  # of the shipped recipe
    assert recipe.float_operators == ("HARD_SWISH",)


def test_another_kind_of_input_takes_nothing_from_what_the_model_tells() -> None:
    recipe = build_recipe({"input": {"window": 52, "stride": 26}}, {}, told=TOLD)
    assert recipe.input == SignalInput(window=52, stride=26)
    assert build_recipe({"input": {"kind": "tensor"}}, {}, told=TOLD).input == TensorInput()


def test_the_kind_of_an_input_is_told_by_its_keys_and_else_by_the_model() -> None:
    sound = {"task": "audio_classification", "input": {"kind": "audio", "window": 15_600}}
    assert build_recipe({"input": {"window": 16_000}}, {}, told=sound).input == AudioInput(window=16_000)
    assert build_recipe({"input": {"features": "mfcc", "window": 8_000}}, {}).input == AudioInput(
        features="mfcc", window=8_000
    )
    assert build_recipe({"input": {"window": 52}}, {}).input == SignalInput(window=52)
    assert build_recipe({"input": {"stride": 8, "channels": ["x"]}}, {}, told=sound).input == SignalInput(
        channels=("x",), stride=8
    )


def test_state_constants_and_signature_are_told_by_the_model_unless_somebody_says_more() -> None:
    told = {**TOLD, "state": {"h_out": "h_in"}, "constants": {"sr": 16_000.0}}
    assert build_recipe({}, {}, told=told).state == {"h_out": "h_in"}
    recipe = build_recipe({"constants": {"sr": 8000}, "signature": "step"}, {}, told=told)
    assert (recipe.constants, recipe.signature) == ({"sr": 8000.0}, "step")


def test_all_problems_come_at_once_and_name_the_nearest_key() -> None:
    written = {"shceme": "int8", "limits": {"min_top1_agrement": 1}, "golden_vectors": "four"}
    with pytest.raises(RecipeError) as caught:
        build_recipe(written, {})
    for words in ("did you mean 'scheme'", "did you mean 'min_top1_agreement'", "golden_vectors: expected a whole"):
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({"scheme": "int4"}, "expected one of float32"),
        ({"input": {"mean": [1.0]}}, "mean and std go together"),
        ({"limits": {"min_top1_agreement": 98}}, "a share from 0 to 1"),
        ({"calibration_samples": 0}, "at least 1"),
        ({"golden_vectors": 65}, "0 to 64"),
        ({"input": "image"}, "expected a table"),
    ],
)
def test_values_out_of_bounds_are_refused(tree: dict[str, object], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        build_recipe(tree, {})


def test_labels_are_relative_to_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text('labels = "names.txt"\n')
    assert build_recipe(read_recipe(tmp_path / "recipe.toml"), {}).labels == tmp_path / "names.txt"


@pytest.mark.parametrize("content", [b"scheme = ", b"\xff\xfe", None])
def test_a_file_that_is_no_recipe_is_named(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RecipeError, match=r"recipe\.toml"):
        read_recipe(path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(["scheme", "task", "input", "output", "limits", "device", "labels", "golden_vectors", "runtime"])


@given(st.dictionaries(KEYS, JSON, max_size=4))
def test_whatever_is_written_only_our_error_comes_out(tree: dict[str, object]) -> None:
    try:
        build_recipe(tree, {})
    except RecipeError as error:
        assert str(error)  # noqa: PT017  # any result is fine, any other error is not


@pytest.mark.parametrize(
    ("called", "name", "version"),
    [
        ("digits-1.0.0.edge", "digits", "1.0.0"),
        ("bird-finder-2.edge", "bird-finder", "2"),
        ("mobilenet-v2-1.4.edge", "mobilenet-v2", "1.4"),
        ("digits-v2.edge", "digits", "v2"),
        ("x-1.0-rc1.edge", "x", "1.0-rc1"),
        ("x-1.0-2.edge", "x", "1.0-2"),
    ],
)
def test_the_output_name_is_split_before_the_version(called: str, name: str, version: str) -> None:
    assert parse_output_name(Path("folder") / called) == (name, version)


@given(st.text(alphabet="abZ019.-_+v ", max_size=30))
def test_an_output_name_gives_a_name_and_a_version_or_our_error(stem: str) -> None:
    try:
        name, version = parse_output_name(Path(f"x{stem}.edge"))
    except RecipeError:
        return
    assert IDENTIFIER.fullmatch(name)
    assert VERSION.fullmatch(version)
    assert f"x{stem}" == f"{name}-{version}"
