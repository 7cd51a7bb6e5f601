"""The port through which samples of any kind come, and the ones that are made up where nobody gave any.

Reading representative data is left to `dataset` and `arrays`.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from PIL import Image

from edge_agent.release.inputs import AudioInput, ImageInput, InputSpec, SignalInput
from edge_agent.transform.audio import AudioTransform
from edge_agent.transform.image import ImageTransform
from edge_agent.transform.signal import SignalTransform
from edge_agent.transform.tensor import Array, TensorSpec, quantize

_LOUDNESS = 0.1  # of the largest sample: noise that is not cut off


class Dataset(Protocol):
    """Samples in a fixed order."""

    @property
    def digest(self) -> str:
        """sha-256 over names and contents of what is used."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """One for each sample."""
        ...

    def inputs(self, tensors: Sequence[TensorSpec]) -> Iterator[list[Array]]:
        """Each sample as a model with these inputs takes it."""
        ...


@dataclass(frozen=True, slots=True)
class Seeded:
    """Noise, the same every time: good enough to see whether two models agree, not whether they are right."""

    count: int
    _spec: InputSpec

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"seeded {number}" for number in range(self.count))

    @property
    def digest(self) -> str:
        return digest_of({})

    def inputs(self, tensors: Sequence[TensorSpec]) -> Iterator[list[Array]]:
        generator = np.random.default_rng(0)
        for _ in range(self.count):
            if len(tensors) > 1 or not isinstance(self._spec, ImageInput | SignalInput | AudioInput):
                yield [quantize(generator.standard_normal(tensor.shape), tensor) for tensor in tensors]
            elif isinstance(self._spec, ImageInput):
                spots = Image.fromarray(generator.integers(0, 256, (6, 6, 3), np.uint8))
                yield [ImageTransform(self._spec, tensors[0]).apply(spots.resize((256, 256)))[0]]
            elif isinstance(self._spec, AudioInput):
                sound = AudioTransform(self._spec, tensors[0])
                yield [sound.apply((_LOUDNESS * generator.standard_normal(sound.length)).astype(np.float32))]
            else:
                transform = SignalTransform(self._spec, tensors[0])
                rows = generator.standard_normal((transform.window, transform.channels))
                mean, std = (
                    np.asarray(values or default) for values, default in ((self._spec.mean, 0), (self._spec.std, 1))
                )
                yield [transform.apply(rows * std + mean)]


def spread(count: int, limit: int) -> list[int]:
    """At most `limit` of `count` positions, evenly spread, the first always among them."""
    return list(range(count)) if count <= limit else [position * count // limit for position in range(limit)]


def digest_of(contents: Mapping[str, bytes]) -> str:
    """sha-256 over names and contents, in the order of the names."""
    total = hashlib.sha256()
    for name, content in sorted(contents.items()):
        total.update(f"{name}\0{hashlib.sha256(content).hexdigest()}\n".encode())
    return total.hexdigest()
