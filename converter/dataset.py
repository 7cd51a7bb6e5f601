"""Representative data: pictures, rows or arrays like those the device will see, for calibration and comparison.

Pictures and rows go through the device's own transforms, so a model is calibrated on exactly what it will be fed.
Every problem of the data is found before anything is converted. What is made of it is left to `calibrate`, `fidelity`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from converter.arrays import open_arrays
from converter.data.annotations import without_annotations
from converter.data.examples import Request, Unlabeled
from converter.data.files import files_of, is_generator, listed
from converter.data.normalization import check_normalization
from converter.data.opening import open_examples
from converter.errors import CalibrationError
from converter.samples import Dataset, digest_of, spread
from edge_agent.errors import FrameError
from edge_agent.release.inputs import AudioInput, ImageInput, InputSpec, TensorInput
from edge_agent.transform.image import ImageTransform, read_image
from edge_agent.transform.tensor import Array, TensorSpec


def open_dataset(
    path: Path,
    spec: InputSpec,
    tensors: Sequence[TensorSpec],
    *,
    input_names: Sequence[str] = (),
    limit: int,
    skip_unreadable: bool = False,
) -> Dataset:
    """The representative data at `path`: a folder of pictures, CSV or WAV files, a `.csv`, a `.wav`, or a `.npz`.

    `spec` and `tensors` are the input of the *float* model, `input_names` what the arrays of a `.npz` are called.
    At most `limit` samples are used, spread evenly. With `skip_unreadable`, pictures that cannot be read are left out
    instead of being refused.

    Raises:
        CalibrationError: with everything that is wrong with it.
    """
    request = Request(path, "raw", spec, skip_unreadable, labeled=False)
    if is_labeled(path, spec) or (path.suffix == ".npz" and path.is_file() and _takes_one_picture(spec, tensors)):
        return _open_labeled(request, tensors, input_names, limit)
    if not path.exists():
        raise CalibrationError(f"{path}: no such file or folder", hint="give the folder or file of calibration data")
    if isinstance(spec, TensorInput) and (path.is_dir() or path.suffix == ".csv"):
        return _open_labeled(request, tensors, input_names, limit)
    if len(tensors) > 1 and path.suffix != ".npz":
        raise CalibrationError(
            f"{path} is no data for a model with {len(tensors)} inputs, which needs a .npz of all of them",
            hint="name the arrays like the model's inputs; of a model with a state, that is one of them",
        )
    if path.suffix == ".npz":
        return open_arrays(path, tensors, input_names, limit)
    if path.is_dir() and isinstance(spec, ImageInput):
        return _open_pictures(path, spec, tensors[0], limit, skip_unreadable=skip_unreadable)
    forms = {"signal": ".csv", "audio": ".wav"}
    if spec.kind in forms and (path.is_dir() or path.suffix == forms[spec.kind]):
        return _open_labeled(request, tensors, input_names, limit)
    wanted = {
        "image": "a folder of pictures or a .npz", "signal": "a .csv, a folder of them, or a .npz",
        "audio": "a .wav, a folder of them, or a .npz of the input itself",
        "tensor": "a .csv of rows, a folder of them, or a .npz",
    }  # fmt: skip
    raise CalibrationError(
        f"{path} is no data for a model with input kind {spec.kind!r}, which needs {wanted.get(spec.kind, 'a .npz')}",
        hint="state the input (input.kind of the recipe, or --task) if the kind is wrong",
    )


# --- with labels that nobody asks for here ---------------------------------------------------------------------


def is_labeled(path: Path, spec: InputSpec) -> bool:
    """Whether it has a form that `data` alone reads."""
    tables = (".csv", ".json") if isinstance(spec, ImageInput | AudioInput) else ()
    return is_generator(path) or (path.is_file() and path.suffix.lower() in (".npy", ".h5", ".hdf5", *tables))


def _takes_one_picture(spec: InputSpec, tensors: Sequence[TensorSpec]) -> bool:
    return isinstance(spec, ImageInput) and len(tensors) == 1


def _open_labeled(request: Request, tensors: Sequence[TensorSpec], input_names: Sequence[str], limit: int) -> Unlabeled:
    found = open_examples(request, tensors, input_names)
    check_normalization(found.items, request.spec, tensors[0])
    return Unlabeled.of(found, request.spec, spread(len(found.items), limit))


# --- pictures -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pictures:
    """Files of a folder and its subfolders, in the order of their paths."""

    paths: tuple[Path, ...]
    names: tuple[str, ...]
    digest: str
    _spec: ImageInput

    def inputs(self, tensors: Sequence[TensorSpec]) -> Iterator[list[Array]]:
        transform = ImageTransform(self._spec, tensors[0])
        for path in self.paths:
            yield [transform.apply(read_image(path))[0]]


def _open_pictures(
    folder: Path, spec: ImageInput, tensor: TensorSpec, limit: int, *, skip_unreadable: bool
) -> Pictures:
    files = without_annotations(folder, files_of(folder))
    transform = ImageTransform(spec, tensor)
    readable, bad = [], []
    for path in files:
        try:
            read_image(path)  # its header
            readable.append(path)
        except FrameError:
            bad.append(path)
    chosen = []
    for path in (readable[position] for position in spread(len(readable), limit)):
        try:
            transform.apply(read_image(path))
            chosen.append(path)
        except FrameError:
            bad.append(path)
    if bad and not skip_unreadable:
        names = [path.relative_to(folder).as_posix() for path in bad]
        raise CalibrationError(
            f"{len(bad)} of {len(files)} files in {folder} are not pictures that can be read: {listed(names)}",
            hint="take them out, or pass --skip-unreadable",
        )
    if not chosen:
        raise CalibrationError(f"{folder} holds no pictures", hint="give a folder of JPEG, PNG, BMP, GIF or WebP files")
    contents = {path.relative_to(folder).as_posix(): path.read_bytes() for path in chosen}
    return Pictures(tuple(chosen), tuple(contents), digest_of(contents), spec)
