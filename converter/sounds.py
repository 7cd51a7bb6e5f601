"""Representative data from WAV files: windows cut and turned into features by the device's own code."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from converter.errors import CalibrationError
from converter.samples import digest_of, spread
from edge_agent.errors import FrameError
from edge_agent.release.inputs import AudioInput
from edge_agent.transform.audio import AudioTransform, AudioWindower, Samples
from edge_agent.transform.resample import Resampler
from edge_agent.transform.tensor import Array, TensorSpec
from edge_agent.transform.wav import read_wav

_NAMED = 3  # files a message names before it says "and N more"


@dataclass(frozen=True, slots=True)
class Sounds:
    """Windows cut from one or more recordings, none across two."""

    names: tuple[str, ...]
    digest: str
    _windows: tuple[Samples, ...]
    _spec: AudioInput

    def inputs(self, tensors: Sequence[TensorSpec]) -> Iterator[list[Array]]:
        transform = AudioTransform(self._spec, tensors[0])
        for samples in self._windows:
            yield [transform.apply(samples)]


def open_sounds(files: Sequence[Path], spec: AudioInput, limit: int) -> Sounds:
    """At most `limit` windows of these recordings, spread evenly. Other files than WAV are left out.

    Raises:
        CalibrationError: there is none, or one cannot be read.
    """
    recordings = [file for file in files if file.suffix.lower() == ".wav"]
    cut: list[tuple[str, Samples]] = []
    problems: list[FrameError] = []
    for file in recordings:
        try:
            cut += [(f"{file.name}#{number}", samples) for number, samples in enumerate(windows_of(file, spec))]
        except FrameError as error:
            problems.append(error)
    if problems:
        more = f" (and {len(problems) - _NAMED} more)" if len(problems) > _NAMED else ""
        raise CalibrationError("; ".join(map(str, problems[:_NAMED])) + more, hint=problems[0].hint)
    if not cut:
        raise CalibrationError("there is no .wav file with sound in it", hint="give WAV files, or a folder of them")
    chosen = [cut[position] for position in spread(len(cut), limit)]
    digest = digest_of({file.name: file.read_bytes() for file in recordings})
    return Sounds(tuple(name for name, _ in chosen), digest, tuple(samples for _, samples in chosen), spec)


def windows_of(file: Path, spec: AudioInput) -> list[Samples]:
    """All windows of a recording, at the model's sample rate; of one that is shorter, one with silence behind it.

    Raises:
        FrameError: it is no WAV file, or damaged.
    """
    samples, rate_hz = read_wav(file)
    windower = AudioWindower(spec)
    if rate_hz == spec.sample_rate_hz:
        return [*windower.push(samples), *windower.finish()]
    resampler = Resampler(rate_hz, spec.sample_rate_hz)
    return [*windower.push(resampler.push(samples)), *windower.push(resampler.finish()), *windower.finish()]
