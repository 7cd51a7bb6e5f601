"""Rules: which operator is stored and computed how, as data, in the words of ai-edge-quantizer's own recipes.

A recipe of ai-edge-quantizer (a JSON list of rules) is taken as it is. A later rule overrides an earlier one. A word
the quantizer does not know is refused here; which operators a rule matches is left to `matching`, what it does to
`aeq`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from edge_agent.schema import nearest

Granularity = Literal[
    "TENSORWISE", "CHANNELWISE", "BLOCKWISE_32", "BLOCKWISE_64", "BLOCKWISE_128", "BLOCKWISE_256"
]  # fmt: skip
Algorithm = Literal[
    "no_quantize", "min_max_uniform_quantize", "float_casting", "dequantized_weight_recovery", "OCTAV",
    "HADAMARD_ROTATION", "DECOMPOSED_HADAMARD_ROTATION", "MSE", "GPTQ", "OSCAR",
]  # fmt: skip
EVERYTHING = "*"
ENDS = ("INPUT", "OUTPUT")  # of the model: they stand for the QUANTIZE and DEQUANTIZE there
OPERATIONS = frozenset((
    EVERYTHING, *ENDS, "FULLY_CONNECTED", "BATCH_MATMUL", "DEPTHWISE_CONV_2D", "CONV_2D", "CONV_2D_TRANSPOSE",
    "AVERAGE_POOL_2D", "RESHAPE", "CUSTOM_OP", "EMBEDDING_LOOKUP", "SOFTMAX", "TANH", "TRANSPOSE", "GELU", "ADD", "SUB",
    "MUL", "MEAN", "RSQRT", "CONCATENATION", "STRIDED_SLICE", "SPLIT", "LOGISTIC", "SLICE", "SUM", "SELECT",
    "SELECT_V2", "DYNAMIC_UPDATE_SLICE", "STABLEHLO_COMPOSITE", "PAD", "SQUARED_DIFFERENCE", "MAX_POOL_2D",
    "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "GATHER_ND", "PACK", "UNPACK", "DIV", "BROADCAST_TO", "SQRT",
    "GATHER", "HARD_SWISH", "MAXIMUM", "PADV2", "REDUCE_MIN", "EQUAL", "NOT_EQUAL", "MIRROR_PAD", "SPACE_TO_DEPTH",
    "RELU",
))  # fmt: skip


@dataclass(frozen=True, slots=True)
class TensorConfig:
    """How a tensor is stored."""

    num_bits: int
    symmetric: bool = True
    granularity: Granularity = "TENSORWISE"
    dtype: Literal["INT", "UINT", "FLOAT"] = "INT"
    block_size: int = 0  # of older recipes: the same as a BLOCKWISE granularity
    algorithm_params: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.num_bits not in (2, 4, 8, 16):
            raise ValueError(f"num_bits must be 2, 4, 8 or 16, found {self.num_bits}")
        if self.block_size not in (0, 32, 64, 128, 256):
            raise ValueError(f"block_size must be 32, 64, 128 or 256, found {self.block_size}")


@dataclass(frozen=True, slots=True)
class OperatorConfig:
    """How an operator computes, and what it is stored in."""

    activation_tensor_config: TensorConfig | None = None  # None: float, or made integers while running
    weight_tensor_config: TensorConfig | None = None
    compute_precision: Literal["INTEGER", "FLOAT"] = "FLOAT"
    explicit_dequantize: bool = False  # a DEQUANTIZE before the operator
    skip_checks: bool = False
    min_weight_elements: int = 0


@dataclass(frozen=True, slots=True)
class Rule:
    """What happens to the operators it matches: the last rule that does decides."""

    regex: str  # is searched in the names of the operator's outputs, each with a ";" behind it
    operation: str = EVERYTHING
    algorithm_key: Algorithm = "min_max_uniform_quantize"
    op_config: OperatorConfig = field(default_factory=OperatorConfig)

    def __post_init__(self) -> None:
        problems = []
        try:
            re.compile(self.regex)
        except re.error as error:
            problems.append(f"regex {self.regex!r}: {error}")
        if self.operation not in OPERATIONS:
            problems.append(f"the quantizer knows no operation {self.operation!r}{did_you_mean(self.operation)}")
        if self.algorithm_key != "no_quantize" and self.op_config.weight_tensor_config is None:
            problems.append(f"op_config.weight_tensor_config is missing, which {self.algorithm_key} needs")
        if problems:
            raise ValueError("; ".join(problems))

    @property
    def needs_samples(self) -> bool:
        """Whether it asks for ranges of activations, or for other figures of them."""
        return self.op_config.activation_tensor_config is not None or self.algorithm_key in SAMPLED_ALGORITHMS


SAMPLED_ALGORITHMS: frozenset[Algorithm] = frozenset(("GPTQ", "OSCAR"))  # they look at activations to round weights


def keep_float(operation: str = EVERYTHING, regex: str = ".*") -> Rule:
    """A rule that keeps operators in float."""
    return Rule(regex, operation, "no_quantize")


def did_you_mean(name: str) -> str:
    """The end of a message about an operator nobody knows."""
    near = nearest(name.upper(), sorted(OPERATIONS - {EVERYTHING}))
    return f"; did you mean {near!r}?" if near else ""
