"""What somebody has said of a bare `.tflite` beforehand, so that it need not be guessed."""

from dataclasses import dataclass
from typing import Literal

from edge_agent.release.outputs import DetectionDecoder, PoseDecoder, TaskName

InputKind = Literal["image", "signal", "audio", "tensor"]
Features = Literal["waveform", "spectrogram", "log_mel", "mfcc", "micro_frontend"]


@dataclass(frozen=True, slots=True)
class Said:
    """None: nothing said."""

    task: TaskName | None = None
    kind: InputKind | None = None  # of the input
    window: int | None = None  # rows, or samples of sound
    features: Features | None = None  # of sound
    sample_rate_hz: int | None = None
    decoder: DetectionDecoder | PoseDecoder | None = None
    signature: str | None = None
