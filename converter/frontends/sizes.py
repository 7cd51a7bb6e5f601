"""The sizes of a model's inputs: those it states, those somebody states, and a batch of 1 where it is left open."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from converter.errors import ConversionError

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Declared:
    """An input as the source states it; a name or None stands for a size that is left open."""

    name: str
    shape: tuple[int | str | None, ...]
    dtype: np.dtype[Any]

    def __str__(self) -> str:
        return f"{self.name} [{', '.join('?' if size is None else str(size) for size in self.shape)}]"


def fix_sizes(inputs: Sequence[Declared], wanted: Mapping[str, Shape]) -> dict[str, Shape]:
    """A whole shape for every input; `wanted` as in `Wanted.input_shapes`.

    An open batch, the first size, becomes 1, and so does every size of the same name.

    Raises:
        ConversionError: an open size that nobody states, or a stated shape that does not fit.
    """
    given = _by_name(inputs, wanted)
    batches = {end.shape[0] for end in inputs if end.shape and isinstance(end.shape[0], str)}
    known = {name: 1 for name in batches if name not in _sizes(inputs, given)} | _sizes(inputs, given)
    found: dict[str, Shape] = {}
    problems = []
    for end in inputs:
        shape = [known.get(size) if isinstance(size, str) else size for size in end.shape]
        if shape and shape[0] is None:
            shape[0] = 1
        shape = list(given.get(end.name, shape))
        if None in shape:
            problems.append(f"input {end} has sizes that are not fixed")
        found[end.name] = tuple(size or 0 for size in shape)
    if problems:
        example = ",".join(str(size or "SIZE") for size in next(iter(found.values())))
        raise ConversionError("; ".join(problems), hint=f"state them: --input-shape {inputs[0].name}={example}")
    return found


def _by_name(inputs: Sequence[Declared], wanted: Mapping[str, Shape]) -> dict[str, Shape]:
    declared = {end.name: end for end in inputs}
    given: dict[str, Shape] = {}
    for asked, shape in wanted.items():
        name = inputs[0].name if asked == "" and len(inputs) == 1 else asked
        if name not in declared:
            what = f"no input {asked!r}" if asked else f"{len(inputs)} inputs, and the shape names none"
            raise ConversionError(
                f"a shape is given, but the model has {what}", hint=f"it has {', '.join(map(str, inputs))}"
            )
        stated = declared[name].shape
        pairs = zip(stated, shape, strict=False)
        misfit = any(isinstance(size, int) and size != new for size, new in pairs)
        if len(stated) != len(shape) or misfit or any(size < 1 for size in shape):
            raise ConversionError(
                f"input {declared[name]} cannot have the shape {list(shape)}",
                hint="give all sizes, the batch first, in the order the source has them",
            )
        given[name] = shape
    return given


def _sizes(inputs: Sequence[Declared], given: Mapping[str, Shape]) -> dict[str, int]:
    """Sizes by the names that they have in the model, told by the shapes that are given."""
    return {
        size: new
        for end in inputs
        if end.name in given
        for size, new in zip(end.shape, given[end.name], strict=True)
        if isinstance(size, str)
    }
