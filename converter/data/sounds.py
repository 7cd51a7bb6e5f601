"""Windows of a WAV file, cut by the device's own code."""

from pathlib import Path

from edge_agent.release.inputs import AudioInput
from edge_agent.transform.audio import AudioWindower, Samples
from edge_agent.transform.resample import Resampler
from edge_agent.transform.wav import read_wav


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
