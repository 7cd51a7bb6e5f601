"""Which form data has, told by its path and by what lies in it. Reading each form is left to its module."""

from collections.abc import Sequence

from converter.data import coco, generated, labeled_files, masks, stored, vectors, voc, windows, yolo
from converter.data.contents import suffixes_of
from converter.data.device_said import results_in
from converter.data.examples import Example, Examples, Request, Transform, gathered
from converter.data.files import files_of, is_generator
from converter.data.normalization import check_normalization
from converter.errors import CalibrationError
from edge_agent.errors import FrameError
from edge_agent.release.inputs import AudioInput, ImageInput, SignalInput, TensorInput
from edge_agent.transform.tensor import TensorSpec

_WITH_BOXES = ("detection", "pose")


def open_examples(request: Request, tensors: Sequence[TensorSpec], input_names: Sequence[str] = ()) -> Examples:
    """All examples at `request.path`. `tensors` and `input_names`: the inputs of the float model.

    Raises:
        CalibrationError: with what is wrong with it.
    """
    path = request.path
    if is_generator(path):
        return generated.read_generated(request)
    if not path.exists():
        raise CalibrationError(f"{path}: no such file or folder", hint="give the folder or file of the data")
    if path.suffix.lower() in stored.SUFFIXES:
        return stored.read_stored(request, tensors, input_names)
    if isinstance(request.spec, TensorInput) and (path.is_dir() or path.suffix == ".csv"):
        return vectors.read_vectors(request, tensors)
    if len(tensors) > 1:
        raise CalibrationError(
            f"{path} is no data for a model with {len(tensors)} inputs, which needs a .npz of all of them",
            hint="name the arrays like the model's inputs",
        )
    if isinstance(request.spec, SignalInput) and (path.is_dir() or path.suffix == ".csv"):
        return windows.read_windows(request)
    if isinstance(request.spec, ImageInput | AudioInput):
        found = _of_files(request)
        if found is not None:
            return found
    wanted = {
        "image": "a folder of pictures, a .csv of labels, a COCO .json or a .npz",
        "signal": "a .csv of rows, a folder of them or a .npz", "audio": "a folder of WAV files or a .csv of labels",
        "tensor": "a .csv of rows, a folder of them or a .npz",
    }  # fmt: skip
    kind = request.spec.kind
    raise CalibrationError(
        f"{path} is no data for a model with input kind {kind!r}, which needs {wanted.get(kind, 'a .npz')}",
        hint="docs/evaluation.md lists the forms; state the input (--task, or input.kind of a recipe) if it is wrong",
    )


def check_examples(request: Request, tensors: Sequence[TensorSpec], input_names: Sequence[str]) -> None:
    """Nothing, where all of the labeled data at `request.path` can be read, is normalized as is stated, and has labels.

    Raises:
        CalibrationError: with what is wrong with it.
    """
    known = labeled_only(open_examples(request, tensors, input_names))
    check_normalization(known.items, request.spec, tensors[0])
    transform = Transform(request.spec, tensors)
    whole: list[Example] = []
    bad: list[str] = []
    for item in known.items:
        try:
            transform.apply(item.content)
            whole.append(item)
        except FrameError as error:
            bad.append(f"{item.name}: {error}")
    gathered(request, whole, bad, hint="give pictures, sounds or arrays as the model takes them")


def labeled_only(found: Examples) -> Examples:
    """The examples whose truth is known; the others are left out.

    Raises:
        CalibrationError: there are none.
    """
    known = tuple(item for item in found.items if item.truth is not None)
    if not known:
        raise CalibrationError(
            f"none of the {len(found.items)} samples has a label",
            hint="put files into one subfolder for each class, or add a table of labels (docs/evaluation.md)",
        )
    without = len(found.items) - len(known)
    left = (f"{without} of {len(found.items)} samples have no label and are left out",) if without else ()
    return Examples(known, found.left_out, (*left, *found.notes))


def _of_files(request: Request) -> Examples | None:  # noqa: PLR0911 - one for each form
    path = request.path
    if path.suffix.lower() == ".json":
        return coco.read_coco(request, path)
    if path.suffix.lower() == ".csv":
        return labeled_files.read_table(request, path)
    if path.is_file():
        return labeled_files.read_subfolders(request) if path.suffix.lower() in suffixes_of(request.spec) else None
    if not request.labeled:
        return labeled_files.read_subfolders(request)
    if not files_of(path):
        raise CalibrationError(f"{path} is empty", hint="give a folder of files, in one subfolder for each class")
    if request.task == "segmentation":
        return masks.read_masks(request)
    if request.task in _WITH_BOXES:
        return _with_boxes(request)
    tables = [file for file in sorted(path.iterdir()) if file.suffix.lower() == ".csv"]
    if len(tables) == 1:
        return labeled_files.read_table(request, tables[0])
    results = results_in(path)
    if results is not None:
        return labeled_files.read_results(request, results)
    return labeled_files.read_subfolders(request)


def _with_boxes(request: Request) -> Examples:
    path = request.path
    jsons = [file for file in files_of(path, ".json") if coco.is_coco(file)]
    if len(jsons) == 1:
        return coco.read_coco(request, jsons[0])
    if len(jsons) > 1:
        names = ", ".join(file.relative_to(path).as_posix() for file in jsons[:3])
        raise CalibrationError(f"{path} holds several COCO files: {names}", hint="give one of the .json files itself")
    if files_of(path, ".xml"):
        return voc.read_voc(request)
    if yolo.is_yolo(path):
        return yolo.read_yolo(request)
    results = results_in(path)
    if results is not None:
        return labeled_files.read_results(request, results)
    raise CalibrationError(
        f"{path} holds no boxes: neither a COCO .json, nor .xml of Pascal VOC, nor .txt of YOLO",
        hint="put the annotations beside the pictures, or give the .json itself",
    )
