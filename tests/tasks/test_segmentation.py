"""Maps of classes: whichever way a model holds them, and only where they show the picture."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from edge_agent.errors import ModelError, Reason
from edge_agent.inference.model import assemble
from edge_agent.inference.tflite import open_engine
from edge_agent.release.inputs import ImageInput
from edge_agent.release.manifest import parse_manifest
from edge_agent.release.outputs import OutputSpec
from edge_agent.tasks.decoder import build_decoder
from edge_agent.tasks.prediction import Prediction
from edge_agent.tasks.segmentation import SegmentationDecoder, visible_part
from edge_agent.transform.image import read_image
from edge_agent.transform.placement import Placement
from edge_agent.transform.prepared import Prepared
from edge_agent.transform.tensor import Quantization, TensorSpec, dequantize
from tests.sim.artifact import make_members

LABELS = ("background", "cat", "dog")
NOW = Prepared()
FLOAT = np.dtype(np.float32)
CLASSES = np.array([[[0, 0, 0, 2], [0, 1, 1, 2]]], np.int64).repeat(2, 1).repeat(2, 2)  # [1, 4, 8]


def decoder_of(
    shape: tuple[int, ...],
    dtype: Any = np.float32,
    quantization: Quantization | None = None,
    *,
    labels: tuple[str, ...] = LABELS,
    **spec: Any,
) -> SegmentationDecoder:
    tensor = TensorSpec("map", shape, np.dtype(dtype), quantization)
    decoder = build_decoder("segmentation", OutputSpec(**spec), (tensor,), labels)
    assert isinstance(decoder, SegmentationDecoder)
    return decoder


def scores_of(classes: NDArray[np.int64]) -> NDArray[np.float32]:
    """0.8 of each pixel's own class and 0.1 of the others: [1, h, w, 3]."""
    return np.where(classes[..., np.newaxis] == np.arange(3), 0.8, 0.1).astype(np.float32)


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8])
@pytest.mark.parametrize("shape", [(1, 4, 8), (1, 4, 8, 1), (1, 1, 4, 8), (4, 8)])
def test_a_map_of_classes_is_told_by_the_share_of_each_the_largest_first(shape: tuple[int, ...], dtype: Any) -> None:
    decoder = decoder_of(shape, dtype)
    assert decoder.decode([CLASSES.astype(dtype).reshape(shape)], NOW) == [
        Prediction(0, 1.0, "background", share=0.5),
        Prediction(1, 1.0, "cat", share=0.25),
        Prediction(2, 1.0, "dog", share=0.25),
    ]
    found = decoder.class_map([CLASSES.astype(dtype).reshape(shape)], NOW)
    assert found.dtype == np.uint8
    assert found.tolist() == CLASSES[0].tolist()


def test_the_background_is_left_out_and_keeps_its_share() -> None:
    found = decoder_of((1, 4, 8), np.int64, background_class=0).decode([CLASSES], NOW)
    assert [(each.label, each.share) for each in found] == [("cat", 0.25), ("dog", 0.25)]
    assert decoder_of((1, 4, 8), np.int64, background_class=0, top_k=1).decode([CLASSES], NOW) == found[:1]
    nothing = np.zeros_like(CLASSES)
    assert decoder_of((1, 4, 8), np.int64, background_class=0).decode([nothing], NOW) == []


def test_scores_of_classes_give_the_largest_one_and_the_mean_score_of_its_pixels() -> None:
    scores = scores_of(CLASSES)
    scores[0, :2, 6:, 2] = 0.6  # half of the dog
    found = decoder_of((1, 4, 8, 3)).decode([scores], NOW)
    assert [(each.label, each.share) for each in found] == [("background", 0.5), ("cat", 0.25), ("dog", 0.25)]
    assert [each.score for each in found] == pytest.approx([0.8, 0.8, 0.7])
    assert [each.label for each in decoder_of((1, 4, 8, 3), score_threshold=0.75).decode([scores], NOW)] == [
        "background",
        "cat",
    ]


@pytest.mark.parametrize("classes", [CLASSES, CLASSES[:, :, ::2]], ids=["wide", "square"])
def test_channels_may_come_first(classes: NDArray[np.int64]) -> None:
    last = scores_of(classes)
    first = np.ascontiguousarray(np.moveaxis(last, -1, 1))
    expected = decoder_of(last.shape).decode([last], NOW)
    assert decoder_of(first.shape).decode([first], NOW) == expected
    assert decoder_of(first.shape).class_map([first], NOW).tolist() == classes[0].tolist()


def test_softmax_and_sigmoid_are_made_up_for_where_the_model_leaves_them_out() -> None:
    logits = np.array([[[[2.0, 0.0, 0.0], [0.0, 3.0, 0.0]], [[2.0, 0.0, 0.0], [0.0, 3.0, 0.0]]]], np.float32)
    softmax = decoder_of((1, 2, 2, 3), activation="softmax").decode([logits], NOW)
    exp = np.exp([2.0, 3.0])
    assert [each.score for each in softmax] == pytest.approx((exp / (exp + 2)).tolist(), abs=1e-6)
    sigmoid = decoder_of((1, 2, 2, 3), activation="sigmoid").decode([logits], NOW)
    assert [each.score for each in sigmoid] == pytest.approx((1 / (1 + 1 / exp)).tolist(), abs=1e-6)


@pytest.mark.parametrize("activation", ["none", "sigmoid"])
@given(
    data=st.data(),
    threshold=st.sampled_from([0.0, 0.3, 0.5, 0.9]),
    dtype=st.sampled_from([np.uint8, np.int8]),
)
def test_a_mask_is_cut_as_stored_where_its_real_values_would_be(
    data: st.DataObject, threshold: float, dtype: type[np.integer[Any]], activation: Literal["none", "sigmoid"]
) -> None:
    low = int(np.iinfo(dtype).min)
    rows = st.lists(st.lists(st.integers(low, low + 255), min_size=3, max_size=3), min_size=2, max_size=2)
    stored = np.array([data.draw(rows)], dtype)
    quantization = Quantization(1 / 256, low) if activation == "none" else Quantization(8 / 256, low + 128)
    decoder = decoder_of(
        (1, 2, 3), dtype, quantization, labels=("crack",), activation=activation, score_threshold=threshold
    )
    real = dequantize(stored, decoder.tensor)[0].astype(np.float64)
    share = real if activation == "none" else 1 / (1 + np.exp(-real))
    inside = share >= (threshold or 0.5) - 1e-12
    assert decoder.class_map([stored], NOW).tolist() == inside.astype(int).tolist()
    found = decoder.decode([stored], NOW)
    assert [(each.index, each.label, each.share) for each in found] == (
        [(1, "crack", inside.mean())] if inside.any() else []
    )
    if inside.any():
        assert found[0].score == pytest.approx(share[inside].mean(), abs=1e-6)


def test_a_mask_of_two_labels_may_tell_its_other_side_too() -> None:
    mask = np.array([[0.9, 0.2], [0.1, 0.0]], np.float32).reshape(1, 2, 2, 1)
    found = decoder_of((1, 2, 2, 1), labels=("road", "crack"), background_class=1).decode([mask], NOW)
    assert [(each.label, each.share) for each in found] == [("road", 0.75)]
    assert found[0].score == pytest.approx(0.9)


def test_the_bars_of_a_letterbox_belong_to_no_class() -> None:
    placement = Placement.fit("letterbox", (200, 100), (8, 8))  # rows 2 to 6
    grid = np.full((1, 8, 8), 9, np.int64)
    grid[0, 2:6] = 1
    decoder = decoder_of((1, 8, 8), np.int64)
    assert decoder.decode([grid], Prepared(placement=placement)) == [Prediction(1, 1.0, "cat", share=1.0)]
    assert decoder.class_map([grid], Prepared(placement=placement)).shape == (4, 8)


@given(
    source=st.tuples(st.integers(1, 4000), st.integers(1, 4000)),
    target=st.tuples(st.integers(1, 600), st.integers(1, 600)),
    size=st.tuples(st.integers(1, 600), st.integers(1, 600)),
    fit=st.sampled_from(["stretch", "letterbox", "crop"]),
)
def test_there_is_always_something_to_see_and_all_of_it_lies_in_the_map(
    source: tuple[int, int],
    target: tuple[int, int],
    size: tuple[int, int],
    fit: Literal["stretch", "letterbox", "crop"],
) -> None:
    rows, columns = visible_part(Placement.fit(fit, source, target), *size)
    assert 0 <= rows.start < rows.stop <= size[0]
    assert 0 <= columns.start < columns.stop <= size[1]
    if fit != "letterbox":
        assert (rows, columns) == (slice(0, size[0]), slice(0, size[1]))


def test_a_class_beyond_the_labels_has_none_and_a_large_one_fits() -> None:
    grid = np.array([[[0, 300], [0, 0]]], np.int64)
    decoder = decoder_of((1, 2, 2), np.int64)
    assert [(each.index, each.label) for each in decoder.decode([grid], NOW)] == [(0, "background"), (300, None)]
    assert decoder.class_map([grid], NOW).dtype == np.uint16


@pytest.mark.parametrize("value", [-1, 1 << 16])
def test_a_number_that_is_no_class_is_the_models_fault(value: int) -> None:
    with pytest.raises(ModelError, match="classes from") as caught:
        decoder_of((1, 2, 2), np.int64).decode([np.array([[[0, value], [0, 0]]])], NOW)
    assert caught.value.reason is Reason.TRIAL_ERRORS


@pytest.mark.parametrize("shape", [(1, 4, 8, 3), (1, 4, 8)])
def test_scores_that_are_no_numbers_are_the_models_fault(shape: tuple[int, ...]) -> None:
    values = np.zeros(shape, np.float32)
    values.reshape(-1)[5] = np.nan
    with pytest.raises(ModelError, match="not numbers"):
        decoder_of(shape, labels=()).decode([values], NOW)


def test_labels_fit_the_channels_or_are_refused_with_both_numbers() -> None:
    with pytest.raises(ModelError, match="3 classes; there are 2 labels") as caught:
        decoder_of((1, 4, 8, 3), labels=LABELS[:2])
    assert caught.value.reason is Reason.LABELS_MISMATCH
    with pytest.raises(ModelError, match="2 classes; there are 3 labels"):
        decoder_of((1, 4, 8))


@pytest.mark.parametrize("shape", [(1, 1001), (1, 1, 1, 1001), (2, 4, 4), (1,), (), (1, 2, 4, 3, 1)])
def test_an_output_that_is_no_map_is_incompatible(shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match="segmentation needs one output") as caught:
        decoder_of(shape, labels=())
    assert caught.value.reason is Reason.INCOMPATIBLE


def test_softmax_of_one_channel_is_incompatible() -> None:
    with pytest.raises(ModelError, match="softmax needs several channels"):
        decoder_of((1, 4, 8), labels=(), activation="softmax")


@pytest.mark.shared_data
def test_the_bird_is_where_the_mask_says(shared_data: Path) -> None:
    path = shared_data / "models/segmentation/deeplabv3_mnv2_dm05_pascal_quant.tflite"
    members = make_members(
        b"x", source=ImageInput(decode="full"), output=OutputSpec(background_class=0), task="segmentation"
    )
    mask = np.asarray(Image.open(shared_data / "images/bird_segmentation_mask.bmp").convert("L")) == 3
    with assemble(parse_manifest(members["manifest.json"]), (), open_engine(path)) as model:
        prepared = model.prepare_image(read_image(shared_data / "images/bird_segmentation.bmp"))
        outputs = model.invoke(prepared)
        found = model.decode(outputs, prepared)
        decoder = build_decoder("segmentation", OutputSpec(), model.engine.outputs, ())
        assert isinstance(decoder, SegmentationDecoder)
        birds = decoder.class_map(outputs, prepared) == 3
    size = (birds.shape[1], birds.shape[0])
    expected = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
    assert (birds & expected).sum() / (birds | expected).sum() >= 0.8
    assert found[0].index == 3
    assert found[0].share == pytest.approx(birds.mean())
