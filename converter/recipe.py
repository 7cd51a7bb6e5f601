"""Recipes: how a model is to be converted, as data. What the scheme does to the model is left to `quantize`.

A recipe is laid in three layers, each overriding the one before: the recipe that ships for the scheme
(`recipes/SCHEME.toml`), the user's TOML file, the command line. Only the result is checked, strictly.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args

from converter.errors import RecipeError
from converter.training.steps import Training
from edge_agent import schema
from edge_agent.release.inputs import InputSpec
from edge_agent.release.manifest import Runtime
from edge_agent.release.outputs import OutputSpec, TaskName

# unchanged: the source goes into the artifact as it is (already quantized, say)
Scheme = Literal["float32", "float16", "dynamic", "int8", "unchanged"]
SCHEMES: tuple[str, ...] = get_args(Scheme)

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


def shipped_recipe(scheme: str) -> Tree:
    """The recipe that ships for a scheme, as a plain tree."""
    if scheme not in SCHEMES:
        raise RecipeError(f"scheme: expected one of {', '.join(SCHEMES)}, found {scheme!r}")
    text = (resources.files("converter") / "recipes" / f"{scheme}.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def read_recipe(path: Path) -> Tree:
    """A user's recipe file as a plain tree; the paths in it are made relative to the working directory."""
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"{path}: {error.strerror or error}", hint="check the path of the recipe") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not TOML: {error}") from error
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
            if isinstance(holder, dict) and isinstance(holder.get(key), str):
                holder[key] = str(folder / holder[key])


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
