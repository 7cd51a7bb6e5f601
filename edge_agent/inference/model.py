"""A model as the manifest describes it, ready to be run: transform, engine and decoder that fit each other.

Worker, probe and converter all run models through this, so they cannot differ. Which thread does what is theirs:
`prepare_*` may run on one thread while `invoke` runs on another. Where a release comes from is left to `update`.
"""

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_agent.config.pipeline import Delegate, Threads
from edge_agent.errors import ArtifactError, FrameError, ModelError, Reason
from edge_agent.inference.engine import Engine, warm_up
from edge_agent.inference.feed import Feed
from edge_agent.inference.tflite import open_engine
from edge_agent.release.inputs import AudioInput, ImageInput, SignalInput
from edge_agent.release.manifest import LABELS_FILE, MANIFEST_FILE, MODEL_FILE, Manifest, parse_manifest
from edge_agent.tasks.decoder import Decoder, build_decoder
from edge_agent.tasks.labels import check_detection_labels, parse_labels
from edge_agent.tasks.prediction import Prediction
from edge_agent.transform.image import ImageTransform
from edge_agent.transform.picture import WHOLE, Picture, View
from edge_agent.transform.prepared import Prepared
from edge_agent.transform.signal import SignalTransform, Windower
from edge_agent.transform.tensor import Array, TensorSpec, dequantize

if TYPE_CHECKING:
    from edge_agent.transform.audio import AudioTransform, AudioWindower

Real = NDArray[np.float32]
Samples = NDArray[np.float32]


class Model:
    """Manifest, labels, transform, engine and decoder. Owns the engine. See `open_release` and `assemble`.

    A model with a `state` answers each frame by those before, so frames are invoked in their order, by one thread.
    """

    def __init__(self, manifest: Manifest, labels: tuple[str, ...], engine: Engine) -> None:
        self.manifest = manifest
        self.labels = labels
        self.engine = engine
        spec = manifest.input
        if not isinstance(spec, ImageInput | SignalInput) and manifest.task == "detection":
            raise ModelError("task detection needs pictures as its input", reason=Reason.INCOMPATIBLE)
        self._feed = Feed(manifest, engine)
        self._image = ImageTransform(spec, self._feed.target(spec)) if isinstance(spec, ImageInput) else None
        self._signal = SignalTransform(spec, self._feed.target(spec)) if isinstance(spec, SignalInput) else None
        self._audio = _new_audio(spec, self._feed.target(spec)) if isinstance(spec, AudioInput) else None
        if manifest.task == "detection":
            check_detection_labels(labels, engine.report.detection_classes)
        self._decoder = build_decoder(manifest.task, manifest.output, self.outputs, labels, self.inputs)

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Those that frames fill: all of the engine's, but for `state` and `constants`."""
        return self._feed.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Those that are answers: all of the engine's, but for those that `state` feeds back."""
        return self._feed.outputs

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
        """One row of plain numbers, dealt out to `inputs` in their order.

        Raises:
            FrameError: another number of values than all of them take together, or values that are not finite.
        """
        return Prepared(self._feed.row(values))

    def prepare_tensors(self, values: Sequence[ArrayLike]) -> Prepared:
        """Real values for each of `inputs`, in any shape that has the right number of them.

        An array that has the input's own dtype already is taken as its stored values.

        Raises:
            FrameError: another number of inputs or of values, values that are not finite, or no numbers.
        """
        return Prepared(self._feed.plain(values))

    def invoke(self, prepared: Prepared) -> list[Array]:
        """Run the engine: the answers as the model gives them, copies. What `state` feeds back is kept for the next.

        Something prepared that holds every input of the engine, states too, is run as it is and leaves no trace: golden
        vectors are such.

        Raises:
            ModelError: the interpreter failed; the state is what it was.
        """
        if len(prepared.inputs) != len(self.inputs):
            return self._feed.answers(self.engine.invoke(prepared.inputs))
        outputs = self.engine.invoke(self._feed.complete(prepared.inputs))
        self._feed.remember(outputs)
        return self._feed.answers(outputs)

    def invoke_batch(self, several: Sequence[Prepared]) -> list[list[Array]]:
        """`invoke` of each: at once where the engine's batch is dynamic and no frame depends on the one before.

        Raises:
            ModelError: the interpreter failed.
        """
        if len(several) > 1 and self.engine.dynamic_batch and not self._feed.remembers:
            try:
                stacked = self.engine.invoke(self._feed.stacked([prepared.inputs for prepared in several]))
            except ModelError:
                if self.engine.dynamic_batch:
                    raise
            else:
                answers = self._feed.answers(stacked)
                if all(len(array) == len(several) for array in answers):
                    return [[array[place : place + 1] for array in answers] for place in range(len(several))]
        return [self.invoke(prepared) for prepared in several]

    def reset_state(self) -> None:
        """Forget the frames so far: the source began anew. Of the thread that invokes."""
        self._feed.reset()

    def warm_up(self) -> None:
        """Invoke once, on zeros, leaving no trace in the state."""
        warm_up(self.engine)

    @property
    def decoder(self) -> Decoder:
        """What `decode` asks: some tell more than predictions."""
        return self._decoder

    def decode(self, outputs: Sequence[Array], prepared: Prepared) -> list[Prediction]:
        """What the model said, the best first.

        Raises:
            ModelError: the outputs are not numbers.
        """
        return self._decoder.decode(outputs, prepared)

    # --- comparing ------------------------------------------------------------------------------------------

    def real_outputs(self, outputs: Sequence[Array]) -> list[Real]:
        """Outputs as real values, float32: what golden vectors hold. Of the engine (all), or of `invoke` (answers)."""
        tensors = self.engine.outputs if len(outputs) == len(self.engine.outputs) else self.outputs
        return [dequantize(stored, tensor) for stored, tensor in zip(outputs, tensors, strict=True)]

    def disagreements(self, expected: Sequence[Sequence[Real]], found: Sequence[Sequence[Real]]) -> list[float]:
        """`tasks.agreement.disagreement` of each vector; raw values by their range over all of `expected`.

        Only answers are compared: what is fed back has no meaning of its own.
        """
        expected, found = ([self._answers_of(vector) for vector in side] for side in (expected, found))
        from edge_agent.tasks.agreement import disagreement, output_ranges  # of no use while serving

        ranges = output_ranges(expected) if expected else None
        spec, outputs, inputs = self.manifest.output, self.outputs, self.inputs
        compare = partial(disagreement, self.manifest.task, spec=spec, outputs=outputs, ranges=ranges, inputs=inputs)
        return [compare(one, other) for one, other in zip(expected, found, strict=True)]

    def top1_agrees(self, expected: Sequence[Real], found: Sequence[Real]) -> bool:
        spec, outputs, inputs = self.manifest.output, self.outputs, self.inputs
        one, other = self._answers_of(expected), self._answers_of(found)
        from edge_agent.tasks.agreement import top1_agrees

        return top1_agrees(self.manifest.task, one, other, spec=spec, outputs=outputs, inputs=inputs)

    def _answers_of(self, outputs: Sequence[Real]) -> Sequence[Real]:
        return self._feed.answers(outputs) if len(outputs) == len(self.engine.outputs) else outputs

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

    def sound_windower(self) -> "AudioWindower":
        """A new cutter of sound as this model takes it.

        Raises:
            FrameError: it takes none.
        """
        if not isinstance(self.manifest.input, AudioInput):
            raise self._takes_no("sound")
        from edge_agent.transform.audio import AudioWindower

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


def _new_audio(spec: AudioInput, tensor: TensorSpec) -> "AudioTransform":
    from edge_agent.transform.audio import AudioTransform  # its tables and transforms are memory

    return AudioTransform(spec, tensor)


def assemble(manifest: Manifest, labels: tuple[str, ...], engine: Engine) -> Model:
    """A model of parts that are there already. On failure the engine stays the caller's.

    Raises:
        ModelError: INCOMPATIBLE or LABELS_MISMATCH, manifest and model disagree.
    """
    return Model(manifest, labels, engine)


def open_release(
    directory: Path, threads: Threads = 1, *, delegate: Delegate | None = None, cores: int | None = None
) -> Model:
    """Open an unpacked release. Its files must have been verified; they are mapped and must not change.

    `threads`, `delegate` and `cores` as `tflite.open_engine` takes them.

    Raises:
        ArtifactError: manifest or labels cannot be read.
        ModelError: the engine cannot load the model, or manifest and model disagree.
    """
    manifest = parse_manifest(_read(directory / MANIFEST_FILE))
    if manifest.runtime.delegate is not None and delegate is None:
        raise ModelError(
            f"release {manifest.name} {manifest.version} was made for delegate {manifest.runtime.delegate!r}, and this "
            "stage has none",
            reason=Reason.MISSING_DELEGATE,
            hint="give the stage `delegate = { library = ... }`, or publish a release for the CPU",
        )
    labels = release_labels(_read(directory / LABELS_FILE) if LABELS_FILE in manifest.files else None)
    path, signature = directory / MODEL_FILE, manifest.signature
    engine = cast("Engine", open_engine(path, threads, delegate=delegate, signature=signature, cores=cores))
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
