"""`report.html`: what stands in it, and that nobody's label becomes markup."""

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from converter.convert import convert
from converter.errors import ConversionError, QualityGateError, RecipeError
from converter.evaluate import Comparison, Measured, OutputError
from converter.fidelity import Fidelity
from converter.layers import Layers
from converter.report import collect
from converter.report.page import MARK, Report, format_report
from converter.report.sections import Candidate, ChangedAnswer, CompressionStep, LayerError, Sections, TensorRange
from tests.converter.conftest import EXAMPLES, Digits, order

HOSTILE = "<script>alert(1)</script>\"'&<img src=x onerror=alert(1)>"
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
_VOID = {"meta", "img"}


class _Page(HTMLParser):
    """Every element must be closed in its turn."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(content.decode())
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def headings(self) -> list[str]:
        found = re.findall(r"<h2>(.*?)</h2>", self.source)
        return [str(heading) for heading in found]

    source = ""


def page(content: bytes) -> _Page:
    parsed = _Page(content)
    parsed.source = content.decode()
    return parsed


def report(name: str = "thing", **changes: Any) -> Report:
    """A full one. Every word that somebody else may choose is `name`."""
    comparison = Comparison(
        samples=20,
        representative=True,
        converted=Measured(1000, 1, 0.5),
        float_model=Measured(4000, 1, 1.0),
        top1_agreement=0.95,
        max_disagreement=0.2,
        mean_disagreement=0.01,
        outputs=(OutputError(name, 0.2, 31.4),),
        golden_vectors=4,
        golden_tolerance=0.05,
    )
    metrics = {
        "accuracy": 0.9,
        "accuracy_interval": [0.85, 0.95],
        "macro": {"f1": 0.88},
        "labels": [name, "dog"],
        "confusion": [[8, 2], [1, 9]],
        "per_class": {name: {"f1": 0.8, "recall": 0.7}},
        "curve": [[0, 0], [0.5, 1], [1, 1]],
        "nothing": None,
    }
    made = Report(
        name=name,
        version="1.0.0",
        task="classification",
        fidelity=Fidelity("int8", comparison, {name: 2}),
        sections=full(name, metrics),
        notes=(name,),
        limits={"golden_tolerance": 0.05, "p95_ms": None},
        recipe={"scheme": "int8", "labels": name},
        provenance={"source": {"name": name}},
    )
    return replace(made, **changes)


def full(name: str, metrics: dict[str, Any]) -> Sections:
    return Sections(
        layers=(
            LayerError(name, "CONV_2D", "int8", 31.4, 1000, 200),
            LayerError(f"{name} 2", name, "float32", None),
        ),
        ranges=(TensorRange(name, -1.0, 2.0, (0, 4, 9, 1)), TensorRange("all the same", 3.0, 3.0, (0, 0, 7, 0))),
        candidates=(
            Candidate(name, 1000, 0.9, "accuracy", 0.5, pareto=True, chosen=True),
            Candidate("float32", 4000, 0.91, "accuracy", None, pareto=True),
            Candidate("int4", 900, 0.4, "accuracy", 3.0, where=name),
        ),
        compression=(CompressionStep(name, {"sparsity": 0.5, name: 1}, "accuracy", 0.91, 0.9, 2000, 30.0),),
        changed=(ChangedAnswer(name, name, name, PIXEL), ChangedAnswer("b", "cat 0.5", "dog 0.6")),
        evaluation={"float": metrics, "converted": {**metrics, "accuracy": 0.875}},
    )


def test_a_report_is_html_that_fetches_nothing() -> None:
    found = page(format_report(report()))
    for tag, attributes in found.tags:
        assert tag not in ("script", "link", "iframe", "object", "base", "form"), tag
        for name in ("src", "href", "data", "action", "srcset"):
            assert (attributes.get(name) or "data:").startswith("data:"), (tag, name)
        assert not [name for name in attributes if name.startswith("on")]
    assert not re.search(r"url\(|@import|https?:", found.source)
    assert found.source.startswith("<!doctype html>")


def test_every_picture_has_a_title_and_is_well_formed() -> None:
    drawings = re.findall(r"<svg.*?</svg>", format_report(report()).decode(), re.DOTALL)
    assert len(drawings) == 6  # layers, candidates, two ranges, two confusion matrices
    for drawing in drawings:
        root = ET.fromstring(drawing)
        assert root[0].tag == "title"
        assert root[0].text
        assert root.get("role") == "img"


def test_everybodys_words_are_escaped() -> None:
    content = format_report(report(HOSTILE)).decode()
    assert "<script" not in content
    assert "<img src=x" not in content
    found = page(content.encode())
    assert sum(HOSTILE in word for word in found.words) > 10
    assert {tag for tag, _ in found.tags} == {tag for tag, _ in page(format_report(report("thing"))).tags}


def test_control_characters_of_a_name_do_not_reach_the_page() -> None:
    content = format_report(report("bad\x00\x1b[31m\u202eeman")).decode()
    assert not re.search("[\x00-\x09\x0b-\x1f\u202e]", content)


def test_what_nobody_measured_is_left_out() -> None:
    everything = page(format_report(report())).headings
    assert everything == [
        "Size, latency, fidelity", "Answers that changed", "What was tried", "Accuracy", "Error of each layer",
        "Ranges of activations", "Operators left in float", "Compression before quantization", "Notes",
        "What a device will be held to", "Where it came from",
    ]  # fmt: skip
    alone = Comparison(samples=16, representative=False, converted=Measured(1000, 0, 0.5))
    bare = report(fidelity=Fidelity("unchanged", alone, {}), sections=Sections(), notes=())
    found = page(format_report(bare))
    assert found.headings == ["Size, latency, fidelity", "What a device will be held to", "Where it came from"]
    assert "made-up" in found.source


def test_the_same_report_is_the_same_bytes() -> None:
    assert format_report(report()) == format_report(report())


def test_figures_of_both_models_stand_side_by_side() -> None:
    text = format_report(report()).decode()
    wanted = (
        ("accuracy", "0.9", "0.875"),
        ("accuracy interval", "0.85 to 0.95", "0.85 to 0.95"),
        ("macro f1", "0.88", "0.88"),
    )
    rows = [f'<td>{name}</td><td class="n">{one}</td><td class="n">{other}</td>' for name, one, other in wanted]
    assert [row for row in rows if row not in text] == []
    assert "thing answered dog: 2 (20.0%)" in text
    assert "recall, converted" in text


def test_a_matrix_with_its_labels_is_drawn_as_one_beside_them() -> None:
    """As `edgectl evaluate` gives it."""
    beside = {"labels": ["cat", "dog"], "confusion": [[8, 2], [1, 9]]}
    under = {"confusion": {"labels": ["cat", "dog"], "rows": [[8, 2], [1, 9]]}}
    pages = [format_report(report(sections=Sections(evaluation={"converted": tree}))) for tree in (beside, under)]
    assert b"cat answered dog: 2 (20.0%)" in pages[0]
    assert pages[0] == pages[1]


def test_a_comparison_has_a_table_of_its_own() -> None:
    trees: dict[str, dict[str, Any]] = {
        "float": {"accuracy": 0.9},
        "converted": {"accuracy": 0.8},
        "comparison": {"drop": 0.1, "verdict": "real"},
    }
    text = format_report(report(sections=Sections(evaluation=trees))).decode()
    assert "<h3>comparison</h3>" in text
    assert re.search(r"<td>drop</td><td[^>]*>0.1</td>", text)
    assert re.search(r"<td>accuracy</td><td[^>]*>0.9</td><td[^>]*>0.8</td></tr>", text)


@pytest.mark.parametrize(
    "tree",
    [
        {"confusion": {"labels": 3, "rows": "none"}},
        {"confusion": [[1, 2], [3]]},
        {"confusion": "none", "labels": "none", "per_class": 3},
        {"confusion": [], "per_class": []},
        {"confusion": [[float("nan"), 1], [0, 0]]},
        {"per_class": [{"label": "cat", "f1": 0.5}, 7], "accuracy": float("nan")},
    ],
)
def test_metrics_of_an_unknown_shape_are_drawn_as_far_as_they_go(tree: dict[str, Any]) -> None:
    page(format_report(report(sections=Sections(evaluation={"converted": tree}))))


def test_many_classes_and_layers_are_drawn_too() -> None:
    count = 60
    matrix = [[number % 7 if row != number else 50 for number in range(count)] for row in range(count)]
    layers = tuple(LayerError(f"layer {number}", "CONV_2D", f"kind {number % 9}", -3.0) for number in range(200))
    sections = Sections(layers=layers, evaluation={"converted": {"confusion": matrix}})
    found = page(format_report(report(sections=sections)))
    assert found.source.count("<rect") == count * count + 200


# --- of a real conversion -----------------------------------------------------------------------------------------


def test_a_conversion_leaves_a_report_beside_the_artifact(digits: Digits, tmp_path: Path) -> None:
    done = convert(order(tmp_path / "digits-1.edge", options={"scheme": "int8"}, calibrate=digits.calibration))
    assert done.report == tmp_path / "digits-1.report.html"
    text = done.report.read_text(encoding="utf-8")
    assert done.digest in text
    assert "Error of each layer" in text
    assert "Ranges of activations" in text
    assert text.count("CONV_2D") > 2
    assert "Passed every limit" in text
    assert str(tmp_path) not in text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["digits-1.edge", "digits-1.report.html"]


def test_what_labeled_data_tells_is_in_the_report(digits: Digits, tmp_path: Path) -> None:
    for path, digit in digits.held_out[:40]:
        folder = tmp_path / "labeled" / str(digit)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / path.name).write_bytes(path.read_bytes())
    done = convert(
        order(
            tmp_path / "digits-1.edge", recipe=EXAMPLES / "digits.toml", options={"scheme": "int8"},
            calibrate=digits.calibration, evaluate=tmp_path / "labeled",
        )
    )  # fmt: skip
    assert done.report is not None
    text = done.report.read_text(encoding="utf-8")
    for words in ("<h2>Accuracy</h2>", "Confusion matrix, float", "Confusion matrix, converted", "mcnemar p value"):
        assert words in text


def test_a_refused_conversion_leaves_the_report_that_says_why(digits: Digits, tmp_path: Path) -> None:
    wanted = tmp_path / "why.html"
    options = {"scheme": "int8", "limits": {"max_size_bytes": 1000}}
    with pytest.raises(QualityGateError) as caught:
        convert(order(tmp_path / "digits-1.edge", options=options, calibrate=digits.calibration, report=wanted))
    assert caught.value.report == wanted
    text = wanted.read_text(encoding="utf-8")
    assert "Refused: the int8 model misses max_size_bytes" in text
    assert "Error of each layer" in text
    assert list(tmp_path.iterdir()) == [wanted]


def test_answers_that_changed_are_shown_with_their_pictures(digits: Digits, tmp_path: Path) -> None:
    options = {"scheme": "int8", "limits": {"min_top1_agreement": 0.0, "min_snr_db": -99.0}, "calibration_samples": 100}
    source = _spoiled(tmp_path)
    done = convert(order(tmp_path / "digits-1.edge", source=source, options=options, calibrate=digits.calibration))
    assert done.fidelity.comparison.top1_agreement is not None
    assert done.fidelity.comparison.top1_agreement < 1
    assert done.report is not None
    text = done.report.read_text(encoding="utf-8")
    pictures = re.findall(r'src="data:image/png;base64,([^"]+)"', text)
    assert 0 < len(pictures) <= 24
    assert all(base64.b64decode(picture).startswith(b"\x89PNG") for picture in pictures)
    assert text.count('class="was"') == len(pictures)


def test_an_older_report_is_replaced_but_nothing_else(tmp_path: Path) -> None:
    there = tmp_path / "digits-1.report.html"
    there.write_bytes(b"somebody's page")
    with pytest.raises(RecipeError, match="is no report") as caught:
        convert(order(tmp_path / "digits-1.edge"))
    assert "--report" in str(caught.value.hint)
    assert there.read_bytes() == b"somebody's page"
    assert not (tmp_path / "digits-1.edge").exists()
    there.write_bytes(MARK + b" of yesterday")
    convert(order(tmp_path / "digits-1.edge"))
    assert there.read_bytes().startswith(MARK)
    assert b"of yesterday" not in there.read_bytes()


def test_a_report_never_replaces_what_the_conversion_reads_or_makes(tmp_path: Path) -> None:
    source, output = tmp_path / "digits.tflite", tmp_path / "digits-1.edge"
    source.write_bytes((EXAMPLES / "digits_v2.tflite").read_bytes())
    for path in (source, output, tmp_path / "sub" / ".." / "digits.tflite"):
        with pytest.raises(RecipeError, match="a file of this conversion"):
            convert(order(output, source=source, report=path, force=True))
    assert source.read_bytes() == (EXAMPLES / "digits_v2.tflite").read_bytes()
    assert list(tmp_path.iterdir()) == [source]


def test_a_refusal_is_told_where_its_report_cannot_be_written(tmp_path: Path) -> None:
    options = {"scheme": "dynamic", "limits": {"max_size_bytes": 1000}}
    with pytest.raises(QualityGateError, match="max_size_bytes") as caught:
        convert(order(tmp_path / "digits-1.edge", options=options, report=tmp_path / "missing" / "why.html"))
    assert caught.value.report is None
    assert "the report could not be written" in caught.value.notes[-1]


def test_the_report_of_a_refusal_lies_where_the_artifact_would_in_a_folder_that_is_made(tmp_path: Path) -> None:
    options = {"scheme": "dynamic", "limits": {"max_size_bytes": 1000}}
    with pytest.raises(QualityGateError) as caught:
        convert(order(tmp_path / "new" / "digits-1.edge", options=options))
    assert caught.value.report == tmp_path / "new" / "digits-1.report.html"
    assert b"Refused: " in caught.value.report.read_bytes()


def test_layers_that_cannot_be_compared_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object) -> Layers:
        raise ConversionError("comparing the layers ended with signal SIGSEGV")

    monkeypatch.setattr(collect, "compare_layers", crash)
    done = convert(order(tmp_path / "digits-1.edge", options={"scheme": "dynamic"}))
    assert done.report is not None
    text = done.report.read_text(encoding="utf-8")
    assert "Error of each layer" not in text
    assert "Passed every limit" in text


def test_no_report_is_written_where_none_is_wanted(tmp_path: Path) -> None:
    done = convert(order(tmp_path / "digits-1.edge", with_report=False))
    assert done.report is None
    assert [path.name for path in tmp_path.iterdir()] == ["digits-1.edge"]


def _spoiled(folder: Path) -> Path:
    """The digits' model with much added to all logits: a softmax does not see it, but eight bits hold little else."""
    from ai_edge_litert import schema_py_generated as schema
    from flatbuffers import Builder

    tree = schema.ModelT.InitFromObj(schema.Model.GetRootAs((EXAMPLES / "digits_v2.tflite").read_bytes(), 0))
    for tensor in tree.subgraphs[0].tensors:
        buffer = tree.buffers[tensor.buffer]
        if list(tensor.shape) == [10, 160] and buffer.data is not None:
            buffer.data = (buffer.data.view("<f4") + 8).view(np.uint8)
    builder = Builder(1024)
    builder.Finish(tree.Pack(builder), file_identifier=b"TFL3")
    path = folder / "spoiled.tflite"
    path.write_bytes(bytes(builder.Output()))
    return path
