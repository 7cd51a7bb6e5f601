"""Recipes: how a model is to be converted, as data. What the scheme does to the model is left to `quantize`.

A recipe is laid in three layers, each overriding the one before: the recipe that ships for the scheme
(`recipes/SCHEME.toml`), the user's file, the command line; only their `rules` follow one another. Only the result is
checked, strictly.
"""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args

from converter.data.files import is_generator
from converter.errors import RecipeError
from converter.quantization.rules import EVERYTHING, OPERATIONS, Rule, did_you_mean
from converter.quantization.treatment import RangeEstimator, Treatment, kept_float
from converter.training.steps import Training
from edge_agent import schema
from edge_agent.release.inputs import InputSpec
from edge_agent.release.manifest import Runtime
from edge_agent.release.outputs import OutputSpec, TaskName

# mixed: what the recipe's own rules say; unchanged: the source goes into the artifact as it is (already quantized, say)
Scheme = Literal[
    "float32", "float16", "dynamic", "int8", "int16x8", "weight_int8", "weight_int4", "dynamic_int4", "blockwise_int4",
    "mixed", "unchanged",
]  # fmt: skip
SCHEMES: tuple[str, ...] = get_args(Scheme)
_FLOAT: tuple[Scheme, ...] = ("float32", "unchanged")  # of these nothing is quantized

Tree = Mapping[str, Any]

_OWN_KEYS = {
    "image": {"color", "fit", "resample", "decode"},
    "signal": {"channels", "window", "stride", "sample_rate_hz"},
    "audio": {
        "features", "amplitude", "frame", "hop", "fft", "bins", "mel_bins", "low_hz", "high_hz", "log_offset",
        "context", "window", "stride", "sample_rate_hz",
    },
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Gate:
    """What the converted model is held to on the representative data. None: not judged."""

    min_top1_agreement: float | None = None  # share of samples with the same first class as the float model
    max_disagreement: float | None = None  # largest `tasks.agreement.disagreement` from the float model
    min_snr_db: float | None = None  # of every output against the float model's; judged on made-up inputs too
    max_size_bytes: int | None = None  # of the converted model
    # on labeled data (--evaluate), of the task's metric: accuracy, map, miou, r2 or roc_auc
    max_drop: float | None = None  # by how much the converted model may be below the float one
    min_accuracy: float | None = None  # what the converted model has to reach

    def __post_init__(self) -> None:
        if self.min_top1_agreement is not None and not 0 <= self.min_top1_agreement <= 1:
            raise ValueError(f"min_top1_agreement is a share from 0 to 1, found {self.min_top1_agreement}")
        for name in ("max_drop", "min_accuracy"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"{name} is a share from 0 to 1, found {value}")

    @property
    def needs_data(self) -> bool:
        """Whether a limit can only be judged on representative data."""
        return self.min_top1_agreement is not None or self.max_disagreement is not None

    @property
    def needs_labels(self) -> bool:
        """Whether a limit can only be judged on labeled data."""
        return self.max_drop is not None or self.min_accuracy is not None


@dataclass(frozen=True, slots=True)
class DeviceLimits:
    """What probe and trial hold the release to on the device (`manifest.Limits`). None: the manifest's default."""

    golden_tolerance: float | None = None  # None: computed from how much the model answers to noise
    p95_ms: float | None = None
    memory_bytes: int | None = None
    error_share: float | None = None
    trial_frames: int | None = None
    trial_s: float | None = None
    trial_longest_s: float | None = None
    slower_than_current: float | None = None
    empty_share: float | None = None
    empty_rise: float | None = None
    score_drift: float | None = None
    agreement: float | None = None


@dataclass(frozen=True, slots=True)
class Recipe:
    """One whole recipe. `input` None: told from the model."""

    scheme: Scheme
    task: TaskName | None = None  # None: told from the model
    input: InputSpec | None = None
    output: OutputSpec = field(default_factory=OutputSpec)
    labels: Path | None = None  # a text file, one label a line; relative to the recipe's file
    limits: Gate = field(default_factory=Gate)
    device: DeviceLimits = field(default_factory=DeviceLimits)
    runtime: Runtime = field(default_factory=Runtime)
    training: Training | None = None  # before it is quantized; only of sources that can be trained
    signature: str | None = None  # the one that is run; of several, only with scheme `unchanged`
    state: Mapping[str, str] = field(default_factory=dict)  # output → the input it is fed back to; told from the model
    constants: Mapping[str, tuple[float, ...] | float] = field(default_factory=dict)  # input → what it always gets
    metadata: bool | None = None  # written into the model too; None: unless it is to stay unchanged
    # operators kept out of quantization: no fast kernel takes them quantized
    float_operators: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()  # which operator becomes what; the last one that matches decides
    float_io: bool = False  # inputs and outputs of the model stay float
    range_estimator: RangeEstimator = "min_max"
    range_percentile: float = 99.999  # of estimator `percentile`
    bias_correction: bool = False
    equalization: bool = False
    caution: str = ""  # a known drawback, told with each conversion
    calibration_samples: int = 200  # at most; spread evenly over what was given
    golden_vectors: int = 4  # 0: none
    golden_tolerance_floor: float = 0.05
    false_alarm_share: float = 0.005  # of normal samples: what the threshold of an anomaly is made for

    def __post_init__(self) -> None:
        if self.calibration_samples < 1:
            raise ValueError(f"calibration_samples must be at least 1, found {self.calibration_samples}")
        if not 0 <= self.golden_vectors <= 64:
            raise ValueError(f"golden_vectors must be 0 to 64, found {self.golden_vectors}")
        if not 0 < self.false_alarm_share < 1:
            raise ValueError(f"false_alarm_share is a share between 0 and 1, found {self.false_alarm_share}")
        if not 50 < self.range_percentile <= 100:
            raise ValueError(f"range_percentile is in percent, above 50 and up to 100, found {self.range_percentile}")
        for name in self.float_operators:
            if name not in OPERATIONS - {EVERYTHING}:
                raise ValueError(f"float_operators: the quantizer knows no operator {name!r}{did_you_mean(name)}")
        if self.scheme in _FLOAT and self.rules:
            raise ValueError(f"nothing is quantized in scheme {self.scheme}, but the recipe has rules")

    @property
    def quantized(self) -> bool:
        """Whether anything is to be quantized."""
        return self.scheme not in _FLOAT

    @property
    def needs_samples(self) -> bool:
        """Whether it cannot be quantized without representative data."""
        return self.quantized and self.treatment.needs_samples

    @property
    def treatment(self) -> Treatment:
        """What is done to the model."""
        return Treatment(
            (*self.rules, *kept_float(self.float_operators, ends=self.float_io)),
            self.range_estimator,
            self.range_percentile,
            self.bias_correction,
            self.equalization,
        )


def shipped_recipe(scheme: str) -> Tree:
    """The recipe that ships for a scheme, as a plain tree."""
    if scheme not in SCHEMES:
        raise RecipeError(f"scheme: expected one of {', '.join(SCHEMES)}, found {scheme!r}")
    return _shipped(scheme)


def shipped_names() -> tuple[str, ...]:
    """Of the recipes that ship: one for each scheme, and others."""
    folder = resources.files("converter") / "recipes"
    return tuple(sorted(file.name.removesuffix(".toml") for file in folder.iterdir() if file.name.endswith(".toml")))


def read_recipe(path: Path) -> Tree:
    """A recipe file, TOML or JSON, as a plain tree, or the one that ships under this name.

    A JSON list is a recipe of ai-edge-quantizer, and becomes the rules of scheme `mixed`. The paths in it are made
    relative to the working directory.
    """
    if not path.exists() and path.name == str(path) and str(path) in shipped_names():
        return {key: value for key, value in _shipped(str(path)).items() if key != "rules"}  # its scheme brings them
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise RecipeError(
            f"{path}: {error.strerror or error}",
            hint=f"check the path of the recipe; those that ship: {', '.join(shipped_names())}",
        ) from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path} is not TOML or JSON: {error}") from error
    tree = _parsed(text, path)
    if isinstance(tree.get("labels"), str):
        tree["labels"] = str(path.parent / tree["labels"])
    _place_training(tree.get("training"), path.parent)
    return tree


def _place_training(training: object, folder: Path) -> None:
    """The paths in it are relative to the recipe's file."""
    if not isinstance(training, dict):
        return
    steps = training.get("steps")
    holders = [training, *(steps if isinstance(steps, list) else [])]
    for holder in holders:
        for key in ("data", "student"):
            named = holder.get(key) if isinstance(holder, dict) else None
            if isinstance(named, str) and not is_generator(Path(named)):
                holder[key] = str(folder / holder[key])


def _shipped(name: str) -> Tree:
    text = (resources.files("converter") / "recipes" / f"{name}.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def _parsed(text: str, path: Path) -> dict[str, Any]:
    is_json = path.suffix == ".json"
    try:
        tree = json.loads(text) if is_json else tomllib.loads(text)
    except (tomllib.TOMLDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise RecipeError(f"{path} is not {'JSON' if is_json else 'TOML'}: {error}") from error
    if isinstance(tree, list):
        return {"scheme": "mixed", "rules": tree}
    if not isinstance(tree, dict):
        raise RecipeError(f"{path} holds {schema.found(tree)}; a recipe is a table, or a list of rules")
    return tree


def build_recipe(
    written: Tree, options: Tree, *, default_scheme: Scheme = "float32", told: Tree | None = None
) -> Recipe:
    """The recipe of a user's tree and the command line's, on top of the one that ships for its scheme.

    `told` is what the model itself tells; it lies below what anybody wrote.

    Raises:
        RecipeError: with every problem.
    """
    scheme = options.get("scheme", written.get("scheme", default_scheme))
    asked = _overlay(written, options)
    given = asked.get("input")
    if isinstance(given, Mapping):
        asked["input"] = {"kind": _kind_of(given, told), **given}
    tree = _overlay(_overlay(shipped_recipe(str(scheme)), told or {}), asked)
    rules = [layer["rules"] for layer in (shipped_recipe(str(scheme)), written, options) if "rules" in layer]
    if rules and all(isinstance(part, list) for part in rules):
        tree["rules"] = [rule for part in rules for rule in part]
    if told and isinstance(given, Mapping) and asked["input"]["kind"] != told["input"]["kind"]:
        tree["input"] = asked["input"]
    try:
        return schema.parse(Recipe, tree, strict=True)
    except schema.SchemaError as error:
        raise RecipeError("; ".join(error.problems), hint="docs/converter.md lists every key of a recipe") from error


def _kind_of(given: Tree, told: Tree | None) -> str:
    """`color` is of pictures, `features` of sound: the kind need not be repeated. `window` is of what is told."""
    fitting = {kind: len(keys & set(given)) for kind, keys in _OWN_KEYS.items()}
    most = max(fitting.values())
    kinds = [kind for kind, count in fitting.items() if count == most]
    told_kind = str(told["input"]["kind"]) if told else None
    if told_kind is not None and (most == 0 or told_kind in kinds):
        return told_kind
    return kinds[0]


def _overlay(below: Tree, above: Tree) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        lower = merged.get(key)
        merged[key] = _overlay(lower, value) if isinstance(lower, Mapping) and isinstance(value, Mapping) else value
    return merged
