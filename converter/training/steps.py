"""The steps of a recipe's `[training]`, as data. What each does is left to `loop`, its arithmetic to `arithmetic`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from edge_agent.config.checks import from_to

Epochs = Annotated[int, from_to(0, 10_000, "epochs")]
Rate = Annotated[float, from_to(1e-9, 10.0, "learning rate")]
BelowOne = Annotated[float, from_to(0.01, 0.99, "share")]


@dataclass(frozen=True, slots=True)
class Finetune:
    """Train on as it is."""

    kind: Literal["finetune"]
    epochs: Epochs = 3
    learning_rate: Rate = 1e-3


@dataclass(frozen=True, slots=True)
class Prune:
    """Magnitude pruning: the smallest weights of each layer become 0, more and more of them by a cubic schedule.

    Zhu and Gupta, "To prune, or not to prune", 2017. The file is smaller where it is compressed; nothing is faster.
    """

    kind: Literal["prune"]
    sparsity: BelowOne = 0.8  # share of the weights of each convolution and dense layer that ends at 0
    epochs: Epochs = 6
    learning_rate: Rate = 1e-3


@dataclass(frozen=True, slots=True)
class PruneChannels:
    """Structured pruning: whole output channels go, with all that reads them, so the model is smaller and faster.

    By the L2 norm of their filters: Li et al., "Pruning filters for efficient ConvNets", 2017.
    """

    kind: Literal["prune_channels"]
    share: BelowOne = 0.3  # of the channels of each layer that are taken out
    multiple: Annotated[int, from_to(1, 128, "channels")] = (
        8  # what stays is one, where a layer has more: kernels like it
    )
    epochs: Epochs = 4
    learning_rate: Rate = 1e-3


@dataclass(frozen=True, slots=True)
class Cluster:
    """Weight clustering: each layer keeps so many different values. Han et al., "Deep compression", 2016."""

    kind: Literal["cluster"]
    clusters: Annotated[int, from_to(2, 256, "clusters")] = 16
    epochs: Epochs = 3
    learning_rate: Rate = 3e-4


@dataclass(frozen=True, slots=True)
class QuantizeAware:
    """Fine-tuning with quantized weights, straight through: Jacob et al., 2018; depthwise weights keep 8 bits.

    Activations are left to calibration.
    """

    kind: Literal["qat"]
    weight_bits: Annotated[int, from_to(2, 8, "bits")] = 8
    epochs: Epochs = 3
    learning_rate: Rate = 1e-4


@dataclass(frozen=True, slots=True)
class Distill:
    """A smaller student learns from the model, and takes its place. Hinton, Vinyals and Dean, 2015."""

    kind: Literal["distill"]
    student: Path | None = None  # a model of the same kind of file, input and output
    share: BelowOne = 0.5  # without a student: the model itself without this share of its channels
    temperature: Annotated[float, from_to(0.1, 100.0, "temperature")] = 4.0
    weight: Annotated[float, from_to(0.0, 1.0, "weight")] = 0.7  # of the teacher's word beside the labels'
    epochs: Epochs = 10
    learning_rate: Rate = 1e-3


Step = Finetune | Prune | PruneChannels | Cluster | QuantizeAware | Distill


@dataclass(frozen=True, slots=True)
class Training:
    """What is trained, on what, before a model is quantized."""

    steps: tuple[Step, ...]
    data: Path | None = None  # any form of labeled data (docs/training.md); --train says it too
    loss: Literal["auto", "crossentropy", "binary_crossentropy", "mse"] = "auto"  # auto: told from y
    batch: Annotated[int, from_to(1, 65_536, "samples")] = 32
    validation_share: Annotated[float, from_to(0.01, 0.9, "share")] = 0.1
    seed: int = 0
