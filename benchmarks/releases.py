"""What the benchmarks run: a release unpacked as a device keeps it, and pictures, both made of the shared data."""

import hashlib
from fractions import Fraction
from pathlib import Path

from edge_agent.release.archive import format_archive
from edge_agent.release.inputs import ImageInput
from edge_agent.release.manifest import LABELS_FILE, MANIFEST_FILE, MODEL_FILE, FileEntry, Manifest, format_manifest

SHARED_DATA = Path(__file__).parent.parent.parent / "shared" / "data"
_PICTURES = ("cat_720p.jpg", "pets.jpg", "burger.jpg", "squat.bmp")
_FULL_HD_PX = (1920, 1080)


def mobilenet_release(directory: Path) -> Path:
    """MobileNetV2 1.0 224, uint8, ImageNet."""
    members = {
        MODEL_FILE: (SHARED_DATA / "models/classification/mobilenet_v2_1.0_224_quant.tflite").read_bytes(),
        LABELS_FILE: (SHARED_DATA / "labels/imagenet_labels.txt").read_bytes(),
    }
    manifest = Manifest(
        name="mobilenet",
        version="1.0.0",
        task="classification",
        input=ImageInput(),
        files={name: FileEntry(hashlib.sha256(content).hexdigest(), len(content)) for name, content in members.items()},
        created="2026-01-01T00:00:00Z",
    )
    directory.mkdir(parents=True)
    for name, content in {MANIFEST_FILE: format_manifest(manifest), **members}.items():
        (directory / name).write_bytes(content)
    return directory


def full_hd_pictures(folder: Path) -> Path:
    """Four real pictures as JPEG files of 1920 x 1080 px."""
    from PIL import Image

    folder.mkdir(parents=True)
    for name in _PICTURES:
        with Image.open(SHARED_DATA / "images" / name) as picture:
            picture.convert("RGB").resize(_FULL_HD_PX).save((folder / name).with_suffix(".jpg"), quality=90)
    return folder


def mixed_pictures(folder: Path, count: int = 60) -> Path:
    """Real pictures as JPEG files between 512 and 1920 px wide, in turn."""
    from PIL import Image

    folder.mkdir(parents=True)
    widths_px = (512, 640, 800, 1280, 1600, 1920)
    for number in range(count):
        with Image.open(SHARED_DATA / "images" / _PICTURES[number % len(_PICTURES)]) as picture:
            width = widths_px[number % len(widths_px)]
            height = round(picture.height * width / picture.width)
            picture.convert("RGB").resize((width, height)).save(folder / f"{number:02}.jpg", quality=90)
    return folder


def hd_video(path: Path, frames: int = 300) -> Path:
    """The shared video as 1280 x 720 px H.264."""
    import av

    with av.open(str(SHARED_DATA / "video/bottle-detection.mp4")) as source, av.open(str(path), "w") as target:
        stream = target.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        for number, frame in enumerate(source.decode(video=0)):
            if number == frames:
                break
            scaled = frame.reformat(1280, 720, "yuv420p")
            scaled.pts, scaled.time_base = number, Fraction(1, 30)
            target.mux(stream.encode(scaled))
        target.mux(stream.encode(None))
    return path


def artifact_of(release: Path, path: Path) -> Path:
    """The `.edge` file of an unpacked release."""
    members = {file.name: file.read_bytes() for file in release.iterdir()}
    path.write_bytes(format_archive(members))
    return path
