"""Operators of the domain ai.onnx.ml, which skl2onnx writes. Labels are left out: scores are what a model gives.

A forest becomes dense (the GEMM strategy of Hummingbird, OSDI 2020): a comparison for each inner node, and a leaf is
reached where all comparisons on its way come out as they must.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  # its usual name

from converter.errors import ConversionError
from converter.frontends.onnx_model.operators.table import Call, Table, Tensor, entry

TABLE: Table = {}
_MOST_ELEMENTS = 4_000_000  # of the matrix of ways to the leaves: 16 MB


@entry(TABLE, "Scaler")
def _scaler(call: Call, x: Tensor) -> Tensor:
    return (x.float() - torch.tensor(call.get("offset"))) * torch.tensor(call.get("scale"))


@entry(TABLE, "Normalizer")
def _normalizer(call: Call, x: Tensor) -> Tensor:
    match call.get("norm", "MAX"):
        case "MAX":
            size = x.abs().amax(-1, keepdim=True)
        case "L1":
            size = x.abs().sum(-1, keepdim=True)
        case _:
            size = (x * x).sum(-1, keepdim=True).sqrt()
    return x / torch.where(size == 0, 1.0, size)


@entry(TABLE, "Imputer")
def _imputer(call: Call, x: Tensor) -> Tensor:
    value = torch.tensor(call.get("imputed_value_floats"))
    missing = call.get("replaced_value_float", float("nan"))
    return torch.where(torch.isnan(x) if missing != missing else x == missing, value, x)  # noqa: PLR0124  # NaN


@entry(TABLE, "Binarizer")
def _binarizer(call: Call, x: Tensor) -> Tensor:
    return (x > call.get("threshold", 0.0)).float()


@entry(TABLE, "FeatureVectorizer")
def _feature_vectorizer(_: Call, *parts: Tensor) -> Tensor:
    return torch.cat([part.float() for part in parts], -1)


@entry(TABLE, "LinearRegressor")
def _linear_regressor(call: Call, x: Tensor) -> Tensor:
    targets = call.get("targets", 1)
    weights = torch.tensor(call.get("coefficients")).reshape(targets, -1)
    bias = call.get("intercepts") or [0.0] * targets
    return _transformed(call, F.linear(x.float(), weights, torch.tensor(bias)))


@entry(TABLE, "LinearClassifier")
def _linear_classifier(call: Call, x: Tensor) -> Any:
    bias = torch.tensor(call.get("intercepts"))
    weights = torch.tensor(call.get("coefficients")).reshape(len(bias), -1)
    scores = F.linear(x.float(), weights, bias)
    classes = len(call.get("classlabels_ints") or call.get("classlabels_strings"))
    if len(bias) == 1 and classes == 2:
        scores = torch.cat([-scores, scores], -1)
        if call.get("post_transform", "NONE") not in ("NONE", "LOGISTIC"):
            raise call.refused(f"of one score with {call.get('post_transform')}")
    return None, _transformed(call, scores)


@entry(TABLE, "TreeEnsembleRegressor")
def _tree_regressor(call: Call, x: Tensor) -> Tensor:
    total = _forest(call, x, "target", call.get("n_targets", 1))
    return _transformed(call, total)


@entry(TABLE, "TreeEnsembleClassifier")
def _tree_classifier(call: Call, x: Tensor) -> Any:
    classes = len(call.get("classlabels_int64s") or call.get("classlabels_strings"))
    given = set(call.get("class_ids"))
    one_score = classes == 2 and len(given) == 1
    total = _forest(call, x, "class", 1 if one_score else classes)
    if one_score:  # of the class 1 alone
        if call.get("post_transform", "NONE") not in ("NONE", "LOGISTIC"):
            raise call.refused(f"of one score with {call.get('post_transform')}")
        score = _transformed(call, total)
        return None, torch.cat([1 - score, score], -1)
    return None, _transformed(call, total)


def _transformed(call: Call, scores: Tensor) -> Tensor:
    match call.get("post_transform", "NONE"):
        case "NONE":
            return scores
        case "SOFTMAX":
            return F.softmax(scores, -1)
        case "LOGISTIC":
            return torch.sigmoid(scores)
        case other:
            raise call.refused(f"with {other}")


def _forest(call: Call, x: Tensor, what: str, outputs: int) -> Tensor:
    """The sum over all trees, [batch, outputs]."""
    trees = _trees(call, what, outputs)
    inner = max(1, *(len(tree.features) for tree in trees))
    leaves = max(len(tree.ways) for tree in trees)
    if len(trees) * inner * leaves > _MOST_ELEMENTS:
        raise ConversionError(
            f"{call.operator} of {len(trees)} trees with up to {leaves} leaves is too large: it would be"
            f" {len(trees) * inner * leaves:,} numbers of at most {_MOST_ELEMENTS:,}",
            hint="train with fewer trees (n_estimators) or smaller ones (max_depth, max_leaf_nodes)",
        )
    features = np.zeros((len(trees), inner), np.int64)
    thresholds = np.zeros((len(trees), inner), np.float32)
    ways = np.zeros((len(trees), inner, leaves), np.float32)
    lefts = np.full((len(trees), 1, leaves), -1.0, np.float32)  # never reached
    values = np.zeros((len(trees), leaves, outputs), np.float32)
    for number, tree in enumerate(trees):
        features[number, : len(tree.features)] = tree.features
        thresholds[number, : len(tree.features)] = tree.thresholds
        for leaf, (way, value) in enumerate(zip(tree.ways, tree.values, strict=True)):
            for node, left in way:
                ways[number, node, leaf] = 1.0 if left else -1.0
            lefts[number, 0, leaf] = sum(left for _, left in way)
            values[number, leaf] = value
    picked = torch.index_select(x.float(), 1, torch.from_numpy(features.reshape(-1)))
    decisions = _compared(call, picked, torch.from_numpy(thresholds.reshape(1, -1))).float()
    decisions = decisions.reshape(-1, len(trees), inner).transpose(0, 1)
    reached = (torch.bmm(decisions, torch.from_numpy(ways)) == torch.from_numpy(lefts)).float()
    each = torch.bmm(reached, torch.from_numpy(values))
    total = each.sum(0)
    if call.get("aggregate_function", "SUM") == "AVERAGE":
        total = total / len(trees)
    elif call.get("aggregate_function", "SUM") != "SUM":
        raise call.refused(f"with {call.get('aggregate_function')}")
    base = call.get("base_values")
    return total + torch.tensor(base) if base else total


def _compared(call: Call, values: Tensor, thresholds: Tensor) -> Tensor:
    modes = set(call.get("nodes_modes")) - {"LEAF"} or {"BRANCH_LEQ"}
    match sorted(modes):
        case ["BRANCH_LEQ"]:
            return values <= thresholds
        case ["BRANCH_LT"]:
            return values < thresholds
        case ["BRANCH_GTE"]:
            return values >= thresholds
        case ["BRANCH_GT"]:
            return values > thresholds
        case _:
            raise call.refused(f"with {', '.join(sorted(modes))} nodes")


class _Tree:
    """One tree: its inner nodes, and for each leaf the way to it and what it adds."""

    def __init__(self) -> None:
        self.features: list[int] = []
        self.thresholds: list[float] = []
        self.ways: list[list[tuple[int, bool]]] = []  # (inner node, whether its comparison holds)
        self.values: list[Any] = []


def _trees(call: Call, what: str, outputs: int) -> list[_Tree]:
    nodes: dict[tuple[int, int], int] = {
        (tree, node): place
        for place, (tree, node) in enumerate(zip(call.get("nodes_treeids"), call.get("nodes_nodeids"), strict=True))
    }
    added: dict[tuple[int, int], Any] = {}
    for tree, node, output, weight in zip(
        call.get(f"{what}_treeids"), call.get(f"{what}_nodeids"), call.get(f"{what}_ids"), call.get(f"{what}_weights"),
        strict=True,
    ):  # fmt: skip
        value = added.setdefault((tree, node), np.zeros(outputs, np.float64))
        value[output if outputs > 1 else 0] += weight
    roots: dict[int, int] = {}
    for tree, node in nodes:
        roots.setdefault(tree, node)
    return [_tree(call, tree, root, nodes, added, outputs) for tree, root in roots.items()]


def _tree(
    call: Call,
    tree: int,
    root: int,
    nodes: Mapping[tuple[int, int], int],
    added: Mapping[tuple[int, int], Any],
    outputs: int,
) -> _Tree:
    found = _Tree()
    waiting: list[tuple[int, list[tuple[int, bool]]]] = [(root, [])]
    while waiting:
        node, way = waiting.pop()
        place = nodes[(tree, node)]
        if call.get("nodes_modes")[place] == "LEAF":
            found.ways.append(way)
            found.values.append(added.get((tree, node), np.zeros(outputs)))
            continue
        number = len(found.features)
        found.features.append(call.get("nodes_featureids")[place])
        found.thresholds.append(call.get("nodes_values")[place])
        waiting.append((call.get("nodes_truenodeids")[place], [*way, (number, True)]))
        waiting.append((call.get("nodes_falsenodeids")[place], [*way, (number, False)]))
    return found
