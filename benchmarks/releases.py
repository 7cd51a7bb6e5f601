"""What the benchmarks run: a release unpacked as a device keeps it, and pictures, both made of the shared data."""

import hashlib
from pathlib import Path

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
