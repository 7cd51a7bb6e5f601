"""What is wanted of a source, as it crosses into a front-end's child process."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from converter.frontends.contract import Wanted


def to_request(wanted: Wanted) -> dict[str, Any]:
    return asdict(wanted)


def from_request(tree: Mapping[str, Any]) -> Wanted:
    return Wanted(
        signature=tree["signature"],
        input_shapes={name: tuple(shape) for name, shape in tree["input_shapes"].items()},
        inputs=tuple(tree["inputs"]),
        outputs=tuple(tree["outputs"]),
        allow_code=tree["allow_code"],
    )
