"""What `source_models` converts, and with which of the shared data: samples to calibrate on, and others to judge by.

Pictures, sounds and logs that are calibrated on are not those that are judged by. A sample is one array for each input,
by name, as the float model takes them.
"""

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.releases import SHARED_DATA
from converter.frontends.contract import Wanted
from edge_agent.release.inputs import AudioInput
from edge_agent.transform.audio_features import new_features
from edge_agent.transform.tensor import Array
from edge_agent.transform.wav import read_wav

Sample = Mapping[str, Array]
_CALIBRATED, _JUDGED = 100, 104
_RATE_HZ = 16_000
_HAR_WINDOW = 52
_CALIBRATION_PICTURES = ("burger.jpg", "pets.jpg", "bird_segmentation.bmp", "cat_720p.jpg")
_WORDS = ("yes", "no", "silence")


@dataclass(frozen=True)
class Judged:
    """One sample, and its class where somebody has said it."""

    sample: Sample
    label: int | None = None


@dataclass(frozen=True)
class Data:
    """Samples of one model; "" names its only input."""

    calibration: Sequence[Sample]
    judged: Sequence[Judged]


@dataclass(frozen=True)
class Case:
    """One source model."""

    name: str  # of its file in the shared data
    data: Callable[[Path], Data]  # of the float .tflite, which recurrent models are run with for their states
    wanted: Wanted = field(default_factory=Wanted)
    tensorflow: str = ""  # how its file is read there: keras, tf_keras, saved_model, frozen; empty: it cannot
    task: str = "classification"  # what its int8 is held to by `edgectl convert`
    first: Callable[[Sequence[Array]], int] = lambda outputs: int(np.argmax(outputs[0]))  # the answer that counts

    @property
    def path(self) -> Path:
        return SHARED_DATA / "source_models" / self.name


def _crops(names: Sequence[str], size_px: int, count: int, *, mean: float, std: float) -> Iterator[Sample]:
    """Squares out of pictures, at least half as wide as the picture is high."""
    random = np.random.default_rng(0)
    pictures = []
    for name in names:
        with Image.open(SHARED_DATA / "images" / name) as stored:
            pictures.append(stored.convert("RGB"))
    for number in range(count):
        picture = pictures[number % len(pictures)]
        side = int(min(picture.size) * random.uniform(0.5, 1))
        left, top = (int(random.uniform(0, extent - side + 1)) for extent in picture.size)
        yield _scaled(picture.crop((left, top, left + side, top + side)), size_px, mean=mean, std=std)


def _scaled(picture: Image.Image, size_px: int, *, mean: float, std: float) -> Sample:
    small = picture.resize((size_px, size_px), Image.Resampling.BILINEAR)
    return {"": ((np.asarray(small, np.float32) - mean) / std)[None]}


def _pictures(size_px: int, *, mean: float, std: float, known: Mapping[str, int]) -> Callable[[Path], Data]:
    """Crops, and whole pictures (their middle) of which the class is known."""

    def data(_: Path) -> Data:
        judged = []
        for name, label in known.items():
            with Image.open(SHARED_DATA / "images" / name) as picture:
                side = min(picture.size)
                left, top = ((extent - side) // 2 for extent in picture.size)
                middle = picture.convert("RGB").crop((left, top, left + side, top + side))
            judged.append(Judged(_scaled(middle, size_px, mean=mean, std=std), label))
        others = _crops(("cat.bmp", "bird.bmp", "squat.bmp"), size_px, _JUDGED - len(judged), mean=mean, std=std)
        calibration = list(_crops(_CALIBRATION_PICTURES, size_px, _CALIBRATED, mean=mean, std=std))
        return Data(calibration, [*judged, *map(Judged, others)])

    return data


def _har(_: Path) -> Data:
    """Whole windows of the logs: one log of each activity to calibrate on, the others to judge by."""
    calibration: list[Sample] = []
    judged: list[Judged] = []
    for folder in sorted((SHARED_DATA / "sensor/har").iterdir()):
        for path in sorted(folder.glob("*.csv")):
            with path.open(encoding="utf-8") as file:
                rows = [row for row in csv.reader(file) if len(row) == 3]
            values = np.array(rows[1:], np.float32)  # behind the header
            whole = len(values) // _HAR_WINDOW
            windows = values[: whole * _HAR_WINDOW].reshape(whole, 1, _HAR_WINDOW, 3)
            if path.stem == "log_0":
                calibration += [{"": window} for window in windows]
            else:
                judged += [Judged({"": window}, int(folder.name[0])) for window in windows]
    return Data(calibration, judged)


def _sound(name: str) -> Array:
    samples: Array = read_wav(SHARED_DATA / "audio" / f"{name}.wav")[0]
    return samples.reshape(-1)


def _words(spec: AudioInput, shape: tuple[int, ...], labels: Mapping[str, int]) -> Callable[[Path], Data]:
    """Seconds of speech: its first 40 s to calibrate on, the rest, and three words, to judge by."""

    def data(_: Path) -> Data:
        features = new_features(spec)

        def sample(samples: Array) -> Sample:
            return {"": np.asarray(features(samples), np.float32).reshape(shape)}

        speech = _sound("silero_test_60s")
        starts = np.linspace(0, 39, _CALIBRATED), np.linspace(40, 59, _JUDGED - len(_WORDS))
        calibration, others = (
            [sample(speech[int(start * _RATE_HZ) : int(start * _RATE_HZ) + _RATE_HZ]) for start in part]
            for part in starts
        )
        words = [Judged(sample(_sound(f"{word}_1000ms")), labels[word]) for word in _WORDS]
        return Data(calibration, [*words, *map(Judged, others)])

    return data


def _frames(source: str, context: int, feedback: Mapping[str, str]) -> Callable[[Path], Data]:
    """Frames of 512 samples with the states that the float model has by then; `feedback`: output → input.

    What is asked for besides is the sample rate.
    """

    def data(model: Path) -> Data:
        from ai_edge_litert.interpreter import Interpreter

        run = Interpreter(str(model), num_threads=1).get_signature_runner()
        shapes = {name: tuple(detail["shape"]) for name, detail in run.get_input_details().items()}
        rates = {
            name: np.full(shape, _RATE_HZ, np.int32)
            for name, shape in shapes.items()
            if name not in {source, *feedback.values()}
        }
        speech = np.concatenate([np.zeros(context, np.float32), _sound("silero_test_60s")])
        state = {name: np.zeros(shapes[name], np.float32) for name in feedback.values()}
        frames: list[Sample] = []
        for start in range(0, len(speech) - 512 - context + 1, 512):
            frames.append({source: speech[None, start : start + 512 + context], **rates, **state})
            outputs = run(**frames[-1])
            state = {name: outputs[output] for output, name in feedback.items()}
        split = len(frames) * 2 // 3
        chosen = [np.linspace(0, split - 1, _CALIBRATED), np.linspace(split, len(frames) - 1, _JUDGED)]
        calibration, judged = ([frames[int(place)] for place in part] for part in chosen)
        return Data(calibration, [Judged(frame) for frame in judged])

    return data


def _speaks(outputs: Sequence[Array]) -> int:
    return int(next(output for output in outputs if output.size == 1).item() > 0.5)


def _likeliest_cell(outputs: Sequence[Array]) -> int:
    return int(np.argmax(outputs[0][..., 0]))


_KWS = AudioInput(features="mfcc", bins=10, amplitude="peak")
_KWS_FROZEN = AudioInput(features="mfcc", bins=10, frame=640, hop=640, fft=1024)

CASES = (
    Case(
        "cifar10_resnet8.h5",
        _pictures(32, mean=0.0, std=1.0, known={"cat.bmp": 3, "bird.bmp": 2}),
        tensorflow="keras",
    ),
    Case("har_cnn_8x8x8.keras", _har, tensorflow="keras"),
    Case(
        "kws_DNN_S.pb",
        _words(_KWS_FROZEN, (1, 25, 10), {"yes": 2, "no": 3, "silence": 0}),
        Wanted(inputs=("Mfcc",)),
        tensorflow="frozen",
    ),
    Case(
        "kws_saved_model",
        _words(_KWS, (1, 49, 10, 1), {"yes": 9, "no": 3, "silence": 10}),
        tensorflow="saved_model",
    ),
    Case("tm_fruit_keras_model.h5", _pictures(224, mean=127.0, std=127.0, known={}), tensorflow="tf_keras"),
    Case(
        "vww_96.h5",
        _pictures(96, mean=0.0, std=255.0, known={"squat.bmp": 1, "cat.bmp": 0}),
        tensorflow="tf_keras",
    ),
    Case("FastestDet.onnx", _pictures(352, mean=0.0, std=255.0, known={}), task="raw", first=_likeliest_cell),
    Case(
        "silero_vad.jit",
        _frames("x", 0, {"state_out": "state", "state_context_out": "state_context"}),
        Wanted(input_shapes={"x": (1, 512), "sr": (16_000,)}),
        task="raw",
        first=_speaks,
    ),
    Case(
        "silero_vad_16k_op15.onnx",
        _frames("input", 64, {"stateN": "state"}),
        Wanted(input_shapes={"input": (1, 576)}),
        task="raw",
        first=_speaks,
    ),
)
