"""What `bench` makes of what it is given: a release to serve, and a source that goes on."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from edge_agent.bench.plan import lay_out_release, name_columns, source_of
from edge_agent.config.row_sources import CsvSource
from edge_agent.config.sources import FolderSource, SyntheticSource, VideoSource, WavSource
from edge_agent.errors import InputError, ModelError
from edge_agent.inference.model import open_release
from edge_agent.release.inputs import AudioInput, ImageInput, SignalInput, TensorInput
from tests.inference.releases import DIGITS, digits_release
from tests.sim.artifact import make_members, pack

KINDS: dict[Any, str] = {VideoSource: "video", CsvSource: "csv", WavSource: "wav"}
PICTURES = ImageInput()
SOUND = AudioInput()


def test_a_bare_model_becomes_a_release_that_opens(tmp_path: Path) -> None:
    manifest, notes = lay_out_release(DIGITS / "digits_v1.tflite", tmp_path)
    assert notes, "what is guessed is said"
    assert isinstance(manifest.input, ImageInput)
    assert manifest.input.decode == "reduced"
    with open_release(tmp_path) as model:
        assert model.manifest == manifest


def test_an_artifact_and_an_unpacked_release_stay_what_they_are(tmp_path: Path) -> None:
    released = digits_release(tmp_path / "release")
    (tmp_path / "copied").mkdir()
    manifest, notes = lay_out_release(released, tmp_path / "copied")
    assert notes == []
    members = make_members((DIGITS / "digits_v1.tflite").read_bytes(), source=ImageInput(color="gray", decode="full"))
    (tmp_path / "unpacked").mkdir()
    packed, notes = lay_out_release(pack(members, tmp_path / "model.edge"), tmp_path / "unpacked")
    assert notes == []
    assert isinstance(packed.input, ImageInput)
    assert packed.input.decode == "full"
    for folder in ("copied", "unpacked"):
        with open_release(tmp_path / folder) as model:
            assert model.labels == (tuple(str(digit) for digit in range(10)) if folder == "copied" else ())
    assert manifest.name == "model"


def test_what_is_no_model_is_told(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(b"<html>")
    with pytest.raises(ModelError, match="HTML"):
        lay_out_release(path, tmp_path)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "spec", "kind"),
    [
        ("street.mp4", PICTURES, VideoSource),
        ("rows.csv", SignalInput(window=2), CsvSource),
        ("speech.wav", SOUND, WavSource),
    ],
)
def test_a_file_becomes_a_source_that_goes_on(tmp_path: Path, name: str, spec: Any, kind: Any) -> None:
    (tmp_path / name).touch()
    source = source_of([str(tmp_path / name)], spec, tmp_path)
    assert source == kind(KINDS[kind], tmp_path / name, repeat=True)


def test_several_pictures_become_a_folder_of_links(tmp_path: Path) -> None:
    paths = []
    for number in range(2):
        paths.append(str(tmp_path / f"{number}.JPG"))
        Image.new("RGB", (4, 4)).save(paths[-1], format="JPEG")
    folder = tmp_path / "laid_out"
    folder.mkdir()
    source = source_of(paths, PICTURES, folder)
    assert source == FolderSource("folder", folder, repeat=True)
    assert [path.read_bytes() for path in sorted(folder.iterdir())] == [Path(path).read_bytes() for path in paths]
    assert source_of([str(folder)], PICTURES, tmp_path) == FolderSource("folder", folder, repeat=True)
    assert source_of([str(folder)], SOUND, tmp_path) == WavSource("wav", folder, repeat=True)


@pytest.mark.parametrize("inputs", [(), ("synthetic",)])
def test_without_an_input_something_is_made_up_that_the_model_takes(inputs: tuple[str, ...], tmp_path: Path) -> None:
    found = [source_of(inputs, spec, tmp_path, ("x",)) for spec in (PICTURES, SOUND, SignalInput(), TensorInput())]
    assert all(isinstance(source, SyntheticSource) for source in found)
    assert [source.content for source in found] == ["pictures", "audio", "rows", "rows"]  # type: ignore[union-attr]
    assert found[2].columns == ("x",)  # type: ignore[union-attr]


@pytest.mark.shared_data
@pytest.mark.parametrize("name", ["sine_int8", "two_signatures"])
def test_made_up_rows_have_as_many_columns_as_a_bare_model_takes(shared_data: Path, name: str, tmp_path: Path) -> None:
    manifest, _ = lay_out_release(shared_data / f"models/sensor/{name}.tflite", tmp_path)
    columns = name_columns(tmp_path, manifest.input)
    assert len(set(columns)) == len(columns) > 0
    with open_release(tmp_path) as model:
        model.prepare_row([0.0] * len(columns))


def test_columns_that_the_manifest_names_are_taken_from_it(tmp_path: Path) -> None:
    assert name_columns(tmp_path / "none", SignalInput(channels=("x", "y"))) == ("x", "y")
    assert name_columns(tmp_path / "none", PICTURES) == ()


@pytest.mark.parametrize(
    ("names", "words"),
    [(["none.jpg"], "there is no"), (["a.xyz"], "no kind that is known"), (["a.jpg", "b.mp4"], "not all are pictures")],
)
def test_inputs_that_cannot_be_one_source_are_told(names: list[str], words: str, tmp_path: Path) -> None:
    for name in ("a.xyz", "a.jpg", "b.mp4"):
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=words):
        source_of([str(tmp_path / name) for name in names], PICTURES, tmp_path)


def test_json_of_the_manifest_is_what_was_written(tmp_path: Path) -> None:
    lay_out_release(DIGITS / "linescan_v1.tflite", tmp_path)
    assert json.loads((tmp_path / "manifest.json").read_text())["files"].keys() == {"model.tflite"}


@pytest.mark.parametrize(
    ("content", "words"), [(b"", r"is empty \(0 bytes\)"), (b"text", "is not a picture")], ids=["empty", "text"]
)
def test_why_a_picture_is_none_is_told_with_its_own_path(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "zero.jpg").write_bytes(content)
    with pytest.raises(InputError, match=words) as caught:
        source_of([str(tmp_path / "zero.jpg")], PICTURES, tmp_path / "laid_out")
    assert str(caught.value).startswith(str(tmp_path / "zero.jpg"))


@pytest.mark.shared_data
def test_notes_do_not_advise_options_that_bench_has_not(shared_data: Path, tmp_path: Path) -> None:
    models = [
        path for kind in ("sensor", "audio", "detection") for path in (shared_data / "models" / kind).glob("*.tflite")
    ]
    assert models
    for number, model in enumerate(sorted(models)[::4]):
        (tmp_path / str(number)).mkdir()
        assert not any("--" in note for note in lay_out_release(model, tmp_path / str(number))[1])
