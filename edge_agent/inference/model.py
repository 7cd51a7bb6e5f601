"""A model as the manifest describes it, ready to be run: transform, engine and decoder that fit each other.

Worker, probe and converter all run models through this, so they cannot differ. Which thread does what is theirs:
`prepare_*` may run on one thread while `invoke` runs on another. Where a release comes from is left to `update`.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_agent.config.pipeline import Delegate, Threads
from edge_agent.errors import ArtifactError, FrameError, ModelError, Reason
from edge_agent.inference.engine import Engine
from edge_agent.inference.tflite import open_engine
from edge_agent.release.inputs import AudioInput, ImageInput, SignalInput
from edge_agent.release.manifest import LABELS_FILE, MANIFEST_FILE, MODEL_FILE, Manifest, parse_manifest
from edge_agent.tasks.agreement import disagreement, output_ranges, top1_agrees
from edge_agent.tasks.decoder import build_decoder
from edge_agent.tasks.labels import parse_labels
from edge_agent.tasks.prediction import Prediction
from edge_agent.transform.audio import AudioTransform, AudioWindower, Samples
from edge_agent.transform.image import ImageTransform
from edge_agent.transform.picture import WHOLE, Picture, View
from edge_agent.transform.prepared import Prepared
from edge_agent.transform.signal import SignalTransform, Windower
from edge_agent.transform.tensor import Array, dequantize, quantize

Real = NDArray[np.float32]


class Model:
    """Manifest, labels, transform, engine and decoder. Owns the engine. See `open_release` and `assemble`."""

    def __init__(self, manifest: Manifest, labels: tuple[str, ...], engine: Engine) -> None:
        self.manifest = manifest
        self.labels = labels
        self.engine = engine
        spec = manifest.input
        if not isinstance(spec, ImageInput | SignalInput) and manifest.task == "detection":
            raise ModelError("task detection needs pictures as its input", reason=Reason.INCOMPATIBLE)
        if isinstance(spec, ImageInput | SignalInput | AudioInput) and len(engine.inputs) != 1:
            found = ", ".join(tensor.label for tensor in engine.inputs) or "none"
            raise ModelError(
                f"input kind {spec.kind!r} needs a model with one input; this one takes {found}",
                reason=Reason.INCOMPATIBLE,
                hint="use input kind 'tensor'",
            )
        self._image = ImageTransform(spec, engine.inputs[0]) if isinstance(spec, ImageInput) else None
        self._signal = SignalTransform(spec, engine.inputs[0]) if isinstance(spec, SignalInput) else None
        self._audio = AudioTransform(spec, engine.inputs[0]) if isinstance(spec, AudioInput) else None
        self._decoder = build_decoder(manifest.task, manifest.output, engine.outputs, labels, engine.inputs)

    # --- one frame ------------------------------------------------------------------------------------------

    def prepare_image(self, picture: Picture, view: View = WHOLE) -> Prepared:
        """A picture, of any size and mode, or what `view` cuts out of it.

        Raises:
            FrameError: it cannot be decoded, or this model takes no pictures.
        """
        if self._image is None:
            raise self._takes_no("pictures")
        array, placement = self._image.apply(picture, view)
        return Prepared((array,), placement)

    def prepare_rows(self, rows: ArrayLike) -> Prepared:
        """A window [window, channels] in the sensor's unit.

        Raises:
            FrameError: it has another shape or is not finite, or this model takes no windows.
        """
        if self._signal is None:
            raise self._takes_no("windows of rows")
        return Prepared((self._signal.apply(rows),))

    def prepare_sound(self, samples: Samples) -> Prepared:
        """A window [context + window] of mono sound, -1..1, at `sample_rate_hz`, as `sound_windower` cuts it.

        Raises:
            FrameError: it has another length or is not finite, or this model takes no sound.
        """
        if self._audio is None:
            raise self._takes_no("sound")
        return Prepared((self._audio.apply(samples),))

    def prepare_row(self, values: Sequence[float]) -> Prepared:
        """One row of plain numbers, dealt out to the inputs in their order.

        Raises:
            FrameError: another number of values than all inputs take together.
        """
        sizes = [int(np.prod(tensor.shape)) for tensor in self.engine.inputs]
        if len(values) != sum(sizes):
            raise FrameError(f"this model takes {sum(sizes)} values a row; found {len(values)}")
        row = np.asarray(values, np.float64)
        return self.prepare_tensors(np.split(row, np.cumsum(sizes)[:-1]))

    def prepare_tensors(self, values: Sequence[ArrayLike]) -> Prepared:
        """Real values for each input, in any shape that has the right number of them.

        An array that has the input's own dtype already is taken as its stored values.

        Raises:
            FrameError: another number of inputs or of values, or no numbers.
        """
        if len(values) != len(self.engine.inputs):
            raise FrameError(f"this model takes {len(self.engine.inputs)} inputs; found {len(values)}")
        arrays = []
        for value, tensor in zip(values, self.engine.inputs, strict=True):
            real = np.asarray(value)
            if real.dtype.kind not in "uifb" or tensor.dtype.kind not in "uifb":
                raise FrameError(f"input {tensor.label} cannot take values of {real.dtype}")
            if real.size != int(np.prod(tensor.shape)):
                raise FrameError(f"input {tensor.label} needs {int(np.prod(tensor.shape))} values; found {real.size}")
            stored = real if real.dtype == tensor.dtype else quantize(real.astype(np.float64), tensor)
            arrays.append(stored.reshape(tensor.shape))
        return Prepared(tuple(arrays))

    def invoke(self, prepared: Prepared) -> list[Array]:
        """Run the engine: outputs as the model gives them, copies.

        Raises:
            ModelError: the interpreter failed.
        """
        return self.engine.invoke(prepared.inputs)

    def invoke_batch(self, prepared: Sequence[Prepared]) -> list[list[Array]]:
        """`invoke` of each.

        Raises:
            ModelError: the interpreter failed.
        """
        return [self.invoke(each) for each in prepared]

    def decode(self, outputs: Sequence[Array], prepared: Prepared) -> list[Prediction]:
        """What the model said, the best first.

        Raises:
            ModelError: the outputs are not numbers.
        """
        return self._decoder.decode(outputs, prepared)

    # --- comparing ------------------------------------------------------------------------------------------

    def real_outputs(self, outputs: Sequence[Array]) -> list[Real]:
        """Outputs as real values, float32: what golden vectors hold."""
        return [dequantize(stored, tensor) for stored, tensor in zip(outputs, self.engine.outputs, strict=True)]

    def disagreements(self, expected: Sequence[Sequence[Real]], found: Sequence[Sequence[Real]]) -> list[float]:
        """`tasks.agreement.disagreement` of each vector; raw values by their range over all of `expected`."""
        spec, outputs, inputs = self.manifest.output, self.engine.outputs, self.engine.inputs
        ranges = output_ranges(expected) if expected else None
        pairs = zip(expected, found, strict=True)
        task = self.manifest.task
        return [disagreement(task, a, b, spec=spec, outputs=outputs, ranges=ranges, inputs=inputs) for a, b in pairs]

    def top1_agrees(self, expected: Sequence[Real], found: Sequence[Real]) -> bool:
        spec, outputs, inputs = self.manifest.output, self.engine.outputs, self.engine.inputs
        return top1_agrees(self.manifest.task, expected, found, spec=spec, outputs=outputs, inputs=inputs)

    # --- windows --------------------------------------------------------------------------------------------

    @property
    def channels(self) -> int:
        """Columns of a window; 0 of a model that takes none."""
        return self._signal.channels if self._signal else 0

    def windower(self) -> Windower:
        """A new cutter of windows as this model takes them.

        Raises:
            FrameError: it takes none.
        """
        if not isinstance(self.manifest.input, SignalInput):
            raise self._takes_no("windows of rows")
        return Windower(self.manifest.input.window, self.manifest.input.stride)

    @property
    def sample_rate_hz(self) -> int | None:
        """Of the sound it takes; None of a model that takes none."""
        spec = self.manifest.input
        return spec.sample_rate_hz if isinstance(spec, AudioInput) else None

    def sound_windower(self) -> AudioWindower:
        """A new cutter of sound as this model takes it.

        Raises:
            FrameError: it takes none.
        """
        if not isinstance(self.manifest.input, AudioInput):
            raise self._takes_no("sound")
        return AudioWindower(self.manifest.input)

    # --- life -----------------------------------------------------------------------------------------------

    def close(self) -> None:
        self.engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _takes_no(self, what: str) -> FrameError:
        kind = self.manifest.input.kind
        hint = {
            "image": "give it pictures", "signal": "give it rows of a sensor", "audio": "give it sound",
            "tensor": "give it plain numbers",
        }  # fmt: skip
        return FrameError(f"model {self.manifest.name} takes no {what}: its input kind is {kind!r}", hint=hint[kind])


def assemble(manifest: Manifest, labels: tuple[str, ...], engine: Engine) -> Model:
    """A model of parts that are there already. On failure the engine stays the caller's.

    Raises:
        ModelError: INCOMPATIBLE or LABELS_MISMATCH, manifest and model disagree.
    """
    return Model(manifest, labels, engine)


def open_release(directory: Path, threads: Threads = 1, *, delegate: Delegate | None = None) -> Model:
    """Open an unpacked release. Its files must have been verified; they are mapped and must not change.

    Raises:
        ArtifactError: manifest or labels cannot be read.
        ModelError: the engine cannot load the model, or manifest and model disagree.
    """
    manifest = parse_manifest(_read(directory / MANIFEST_FILE))
    labels = release_labels(_read(directory / LABELS_FILE) if LABELS_FILE in manifest.files else None)
    engine = cast("Engine", open_engine(directory / MODEL_FILE, 1 if threads == "auto" else threads))
    try:
        return assemble(manifest, labels, engine)
    except ModelError:
        engine.close()
        raise


def release_labels(content: bytes | None) -> tuple[str, ...]:
    """The labels of an artifact's `labels.txt`; none of None.

    Raises:
        ArtifactError: it is not text, or empty.
    """
    if content is None:
        return ()
    try:
        labels = parse_labels(content)
    except ValueError as error:
        raise ArtifactError(f"{LABELS_FILE}: {error}", reason=Reason.BAD_MANIFEST) from error
    if not labels:
        raise ArtifactError(
            f"{LABELS_FILE} holds no labels", reason=Reason.LABELS_MISMATCH, hint="give one label a line, or no file"
        )
    return labels


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ArtifactError(
            f"{path.name} of release {path.parent.name} cannot be read: {os.strerror(error.errno or 0)}",
            reason=Reason.INTEGRITY,
        ) from error
