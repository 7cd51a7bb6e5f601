"""scikit-learn models, pickled and as ONNX of skl2onnx, held to scikit-learn's and ONNX Runtime's answers."""

from collections.abc import Callable
from pathlib import Path

import pytest

from converter.convert import convert as artifact
from converter.errors import ConversionError
from converter.frontends.contract import TFLITE_NAME, Wanted
from converter.frontends.onnx import convert_onnx
from converter.frontends.sklearn import convert_sklearn
from converter.job import Order
from edge_agent.release.archive import read_artifact
from edge_agent.release.manifest import LABELS_FILE
from edge_agent.tasks.labels import parse_labels
from tests.frontends.conversions import convert

Make = Callable[[str], Path]
ALLOWED = Wanted(allow_code=True)

BUILD = """
import pickle, joblib, numpy as np, skl2onnx
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, Normalizer, MinMaxScaler
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression, LinearRegression
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.ensemble import RandomForestClassifier, GradientBoostingRegressor
from sklearn.tree import DecisionTreeClassifier
from sklearn.svm import SVC
R = np.random.default_rng(0)
X = (R.random((200, 6)) * 20).astype(np.float32)
classes = np.array(["low", "middle", "high"])[np.digitize(X[:, 0] + X[:, 1], [14, 26])]
numbers = X @ np.arange(6) + np.sin(X[:, 0])
def as_onnx(model, path):
    with open(path, "wb") as file:
        file.write(skl2onnx.to_onnx(model, X[:1]).SerializeToString())
"""


@pytest.mark.cold
def test_pipelines_answer_as_scikit_learn_does(make_model: Make) -> None:
    folder = make_model(
        BUILD
        + """
joblib.dump(make_pipeline(StandardScaler(), PCA(4), LogisticRegression(max_iter=500)).fit(X, classes), "linear.joblib")
forest = RandomForestClassifier(n_estimators=12, max_depth=5, random_state=0)
with open("forest.pkl", "wb") as file:
    pickle.dump(make_pipeline(MinMaxScaler(), forest).fit(X, classes), file)
mlp = MLPRegressor(hidden_layer_sizes=(8,), max_iter=40, random_state=0)
joblib.dump(make_pipeline(StandardScaler(), mlp).fit(X, numbers), "mlp.joblib", compress=3)
"""
    )
    for name, outputs in (("linear.joblib", 3), ("forest.pkl", 3), ("mlp.joblib", 1)):
        ran = convert(convert_sklearn, folder / name, folder / name.partition(".")[0], ALLOWED)
        assert ran.error < 1e-4, name
        assert ran.spread > 1e-3, name
        assert list(ran.shapes.values()) == [(1, 6), (1, outputs)]


def test_onnx_of_skl2onnx_gives_scores_instead_of_labels_and_maps(make_model: Make) -> None:
    folder = make_model(
        BUILD
        + """
as_onnx(make_pipeline(Normalizer(), MLPClassifier(hidden_layer_sizes=(5,), max_iter=30)).fit(X, classes), "mlp.onnx")
as_onnx(DecisionTreeClassifier(max_depth=6).fit(X, X[:, 0] + X[:, 1] > 8), "tree.onnx")
as_onnx(GradientBoostingRegressor(n_estimators=20).fit(X, numbers), "boosting.onnx")
as_onnx(LogisticRegression(max_iter=500).fit(X, classes == "high"), "two.onnx")
"""
    )
    for name, outputs in (("mlp", 3), ("tree", 2), ("boosting", 1), ("two", 2)):
        ran = convert(convert_onnx, folder / f"{name}.onnx", folder / name)
        assert ran.error < 1e-4, name
        assert ran.spread > 1e-4, name
        assert list(ran.shapes.values()) == [(1, 6), (1, outputs)]


def test_what_is_not_converted_is_refused_by_its_name(make_model: Make) -> None:
    folder = make_model(
        BUILD
        + """
as_onnx(SVC(probability=False).fit(X, classes), "svc.onnx")
joblib.dump(SVC(probability=False).fit(X, classes), "svc.joblib")
joblib.dump(RandomForestClassifier(n_estimators=800, random_state=0).fit(X, R.integers(0, 9, 200)), "large.joblib")
joblib.dump({"weights": X}, "dict.joblib")
joblib.dump(LogisticRegression(), "unfitted.joblib")
"""
    )
    out = folder / "out"
    out.mkdir()
    for name, wanted in (
        ("svc.onnx", "not converted: ai.onnx.ml.SVMClassifier"),
        ("svc.joblib", "not converted: ai.onnx.ml.SVMClassifier"),
        ("large.joblib", "is too large"),
        ("dict.joblib", "holds a dict, not a model of scikit-learn"),
        ("unfitted.joblib", "does not say how many features"),
    ):
        function = convert_onnx if name.endswith(".onnx") else convert_sklearn
        with pytest.raises(ConversionError) as caught:
            function(folder / name, out, ALLOWED)
        assert wanted in str(caught.value), name
        assert caught.value.hint
        assert not (out / TFLITE_NAME).exists()


def test_the_names_of_the_classes_become_the_labels_of_the_artifact(make_model: Make) -> None:
    folder = make_model(
        BUILD
        + """
three = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(X, classes)
joblib.dump(three, "three.joblib")
as_onnx(three, "three.onnx")
as_onnx(RandomForestClassifier(n_estimators=5, max_depth=4).fit(X, np.array([30, 10])[(X[:, 0] > 8) * 1]), "codes.onnx")
joblib.dump(MLPClassifier(hidden_layer_sizes=(5,), max_iter=30).fit(X, classes), "mlp.joblib")
joblib.dump(LogisticRegression(max_iter=500).fit(X, np.digitize(X[:, 0], [6, 13])), "counted.joblib")
"""
    )
    words = ("high", "low", "middle")
    for name, labels in (
        ("three.joblib", words), ("three.onnx", words), ("codes.onnx", ("10", "30")), ("mlp.joblib", words),
        ("counted.joblib", ()),
    ):  # fmt: skip
        output = folder / f"{name.replace('.', '_')}-1.edge"
        done = artifact(Order(folder / name, output, with_report=False, wanted=ALLOWED))
        members = read_artifact(output).members
        assert parse_labels(members.get(LABELS_FILE, b"")) == labels, name
        told = [note for note in done.notes if "classes that the source names" in note]
        assert told == ([f"labels are the classes that the source names: {', '.join(labels)}"] if labels else []), name
        if labels:
            manifest = read_artifact(output).manifest
            assert (manifest.task, manifest.output.activation) == ("classification", "none"), name


def test_labels_that_somebody_gives_stand_above_the_names_of_the_classes(make_model: Make) -> None:
    folder = make_model(BUILD + 'joblib.dump(LogisticRegression(max_iter=500).fit(X, classes), "m.joblib")')
    (folder / "labels.txt").write_text("a\nb\nc\n")
    order = Order(
        folder / "m.joblib",
        folder / "m-1.edge",
        options={"labels": str(folder / "labels.txt")},
        with_report=False,
        wanted=ALLOWED,
    )
    done = artifact(order)
    assert parse_labels(read_artifact(done.path).members[LABELS_FILE]) == ("a", "b", "c")
    assert not any("classes that the source names" in note for note in done.notes)
