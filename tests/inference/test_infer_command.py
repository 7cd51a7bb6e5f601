"""`edge-agent infer` as a person types it: columns and times, rows and frames that are of no use, and what is said."""

import json
import wave
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_agent import cli

RUNNING_SUM = (
    Path(__file__).parent / "models/running_sum.tflite"
)  # of x0, x1, gain: the sums of all x so far, times gain
HAR = "models/sensor/har_qcnn_8x8x8.tflite"  # windows of 52 rows of 3
SINE = "models/sensor/sine_float.tflite"


@dataclass(frozen=True)
class Said:
    """What a command said, and how it ended."""

    code: int
    lines: list[dict[str, Any]]
    notes: list[str]
    errors: list[str]
    hints: list[str]

    @property
    def values(self) -> list[list[float]]:
        return [[result["value"] for result in line["results"]] for line in self.lines]


Infer = Callable[..., Said]


@pytest.fixture
def infer(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Infer:
    def command(*words: object) -> Said:
        monkeypatch.setattr("sys.argv", ["edge-agent", "infer", *map(str, words)])
        code = 0
        try:
            cli.main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        notes, errors, hints = (
            [line.removeprefix(start) for line in err.splitlines() if line.startswith(start)]
            for start in ("note: ", "error: ", "hint: ")
        )
        assert len(errors) == len(hints) == (1 if code == 1 else 0), err
        return Said(code, [json.loads(line) for line in out.splitlines()], notes, errors, hints)

    return command


# --- columns ------------------------------------------------------------------------------------------------------


def test_the_columns_of_a_csv_may_be_named_in_any_order(infer: Infer, tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("when,c,b[mg],a\nnoon,3,2,1\n1pm,6,5,4\n")
    said = infer(RUNNING_SUM, rows, "--columns", "a, b,c")
    assert (said.code, said.values) == (0, [[3, 6], [30, 42]])


def test_a_column_that_is_not_there_is_told_with_those_that_are(infer: Infer, tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("when,temp,hum,press\n1,2,3,4\n")
    for words in (("--columns", "tmep,hum,press"), ("--time-column", "tmep")):
        said = infer(RUNNING_SUM, rows, *words)
        assert (said.code, said.lines) == (1, [])
        assert said.errors == [f"{rows} has no column tmep (did you mean temp?); it has when, temp, hum, press"]


def test_the_time_column_is_no_value(infer: Infer, tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("x,when,y,z\n1,2024-01-01 00:00,2,3\n")
    said = infer(RUNNING_SUM, rows, "--time-column", "when")
    assert (said.code, said.values) == (0, [[3, 6]])


def test_a_date_where_a_value_should_be_has_its_column_asked_for(infer: Infer, tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("when,x,y\n2024-01-01 00:00,2,3\n")
    said = infer(RUNNING_SUM, rows)
    assert (said.code, said.lines) == (1, [])
    assert "rows.csv:2: expected a number, found '2024-01-01 00:00'" in said.errors[0]
    assert "--time-column" in said.hints[0]
    assert "--columns" in said.hints[0]
    rows.write_text("when,x,y\nno number,2,3\n")
    assert "time" not in infer(RUNNING_SUM, rows).hints[0]


def test_a_cell_that_is_no_time_costs_its_row(infer: Infer, tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("t,x,y,z\n0,1,2,3\nsoon,1,2,3\n2,1,2,3\n")
    said = infer(RUNNING_SUM, rows, "--time-column", "t")
    assert (said.code, said.values) == (1, [[3, 6], [6, 12]])
    assert "rows.csv:3: expected seconds or a date and time (ISO 8601) as t, found 'soon'" in said.errors[0]


def test_columns_may_be_named_of_json_lines(infer: Infer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lines = tmp_path / "lines.jsonl"
    lines.write_text('{"c": 3, "a": 1, "more": 9, "b": 2}\n')
    with lines.open() as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        said = infer(RUNNING_SUM, "-", "--columns", "a,b,c")
    assert (said.code, said.values) == (0, [[3, 6]])
    assert "--time-column: expected a CSV file" in infer(RUNNING_SUM, "-", "--time-column", "t").errors[0]


def test_what_has_no_columns_is_told(infer: Infer, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros(3))
    said = infer(RUNNING_SUM, tmp_path / "x.npy", "--columns", "a", "--time-column", "t")
    assert (said.code, said.lines) == (1, [])
    assert said.errors == [f"--columns and --time-column: expected a CSV file, found {tmp_path / 'x.npy'}"]


@pytest.mark.parametrize("names", ["", "a,,b", "a,a"])
def test_columns_that_are_none_were_asked_wrongly(infer: Infer, names: str) -> None:
    assert infer(RUNNING_SUM, "rows.csv", "--columns", names).code == 2


def test_a_model_that_remembers_forgets_where_the_time_goes_back(infer: Infer, tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("t,x,y,gain\n5,1,2,1\n6,1,2,1\n5,1,2,1\n")
    assert infer(RUNNING_SUM, rows, "--columns", "x,y,gain").values == [[1, 2], [2, 4], [3, 6]]
    assert infer(RUNNING_SUM, rows, "--time-column", "t").values == [[1, 2], [2, 4], [1, 2]]


@pytest.mark.shared_data
def test_a_window_begins_anew_where_the_time_goes_back(infer: Infer, shared_data: Path, tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text("t,x,y,z\n" + "".join(f"{time},1,2,3\n" for time in (*range(30), *range(30))))
    assert len(infer(shared_data / HAR, log, "--columns", "x,y,z").lines) == 1  # over what was recorded anew
    said = infer(shared_data / HAR, log, "--time-column", "t")
    assert (said.code, said.lines) == (1, [])
    assert "fewer rows than the 52" in said.errors[0]


@pytest.mark.shared_data
def test_another_number_of_columns_than_a_window_takes_has_them_asked_for(
    infer: Infer, shared_data: Path, tmp_path: Path
) -> None:
    log = tmp_path / "log.csv"
    log.write_text("n,x,y,z\n" + "0,1,2,3\n" * 52)
    said = infer(shared_data / HAR, log)
    assert (said.code, said.lines) == (1, [])
    assert "gives 4 columns; a window of this model takes 3 channels" in said.errors[0]
    assert "--columns" in said.hints[0]
    assert len(infer(shared_data / HAR, log, "--columns", "x,y,z").lines) == 1


# --- what is of no use --------------------------------------------------------------------------------------------


def test_a_vector_of_an_array_that_is_no_numbers_costs_itself(infer: Infer, tmp_path: Path) -> None:
    values = np.array([[1.0, 2.0, 1.0], [np.nan, 2.0, 1.0], [1.0, 2.0, 1.0]])
    np.save(tmp_path / "x.npy", values)
    np.savez(tmp_path / "x.npz", x=values[:, :2], gain=values[:, 2])
    for path in (tmp_path / "x.npy", tmp_path / "x.npz"):
        said = infer(RUNNING_SUM, path)
        assert (said.code, said.values) == (1, [[1, 2], [2, 4]])
        assert [line["input"] for line in said.lines] == [f"{path}#0", f"{path}#2"]
        assert f"{path}: 1 row left out; the first: {path}#1: " in said.errors[0]
        assert any(f"left out: {path}#1" in note for note in said.notes)


def test_a_damaged_row_is_told_and_the_exit_code_says_so(infer: Infer, tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("x,y,gain\n1,2,1\n1,2\n1,two,1\n1,2,1\n")
    said = infer(RUNNING_SUM, rows)
    assert (said.code, said.values) == (1, [[1, 2], [2, 4]])
    assert said.errors == [f"{rows}: 2 rows left out; the first: rows.csv:3: expected 3 columns, found 2"]


@pytest.mark.shared_data
def test_features_of_sound_with_a_damaged_row_are_told_by_its_line(
    infer: Infer, shared_data: Path, tmp_path: Path
) -> None:
    model = shared_data / "models/audio/kws_dscnn_float.tflite"  # takes 49 x 10
    vector = ",".join(["0.5"] * 490)
    rows = tmp_path / "rows.csv"
    rows.write_text(f"{vector}\n{vector.replace('0.5', 'x', 1)}\n{vector}\n")  # a window a row
    said = infer(model, rows)
    assert (said.code, [line["input"] for line in said.lines]) == (1, [f"{rows}#0", f"{rows}#1"])
    assert said.errors == [f"{rows}: 1 row left out; the first: rows.csv:2: expected a number, found 'x'"]
    table = tmp_path / "table.csv"
    table.write_text("\n".join([",".join(["0.5"] * 10)] * 48 + ["nan" + ",0.5" * 9]))  # one window
    said = infer(model, table)
    assert (said.code, said.lines) == (1, [])
    assert said.errors == [f"{table}: 1 row left out; the first: table.csv:49: expected a number, found 'nan'"]


@pytest.mark.shared_data
def test_a_damaged_video_is_read_to_its_end_and_the_exit_code_says_so(
    infer: Infer, shared_data: Path, tmp_path: Path
) -> None:
    pytest.importorskip("av", reason="needs PyAV, the extra `video`")
    from tests.inference.sources.test_video import write_video

    video = write_video(tmp_path / "ten.avi", codec="mjpeg")
    content = bytearray(video.read_bytes())
    begins = [place for place in range(len(content)) if content[place : place + 3] == b"\xff\xd8\xff"]
    assert len(begins) == 10
    tables = content.index(b"\xff\xc4", begins[3]) + 4  # without its Huffman tables it can be read, but not decoded
    content[tables : tables + 17] = b"\xff" * 17
    video.write_bytes(content)
    said = infer(shared_data / "models/classification/mnist_conv_fc_float.tflite", video)
    numbers = [int(line["input"].rpartition("#")[2]) for line in said.lines]
    assert (said.code, numbers) == (1, [0, 1, 2, 4, 5, 6, 7, 8, 9])
    assert f"{video}: 1 frame left out; the first: {video}#3: " in said.errors[0]
    assert "cannot be decoded" in said.errors[0]


# --- sound --------------------------------------------------------------------------------------------------------


@pytest.mark.shared_data
def test_what_is_done_to_sound_is_said_once(infer: Infer, shared_data: Path, tmp_path: Path) -> None:
    for number in range(2):
        with wave.open(str(tmp_path / f"{number}.wav"), "wb") as file:
            file.setnchannels(2)
            file.setsampwidth(2)
            file.setframerate(8_000)
            file.writeframes(np.full(2 * 4_000, 1_000 * (number + 1), "<i2").tobytes())
    said = infer(shared_data / "models/audio/kws_dscnn_float.tflite", tmp_path)  # takes 1 s
    assert (said.code, len(said.lines)) == (0, 2)
    about_sound = [note for note in said.notes if note.startswith("sound")]
    assert about_sound == [
        "sound of 2 channels is averaged to one",
        "sound of 8000 Hz is resampled to the 16000 Hz that the model takes",
        "sound shorter than the window of 1 s is followed by silence",
    ]
    mono = infer(shared_data / "models/audio/kws_dscnn_float.tflite", shared_data / "audio/yes_1000ms.wav")
    assert not any(note.startswith("sound") for note in mono.notes)


# --- labels -------------------------------------------------------------------------------------------------------


@pytest.mark.shared_data
@pytest.mark.parametrize("metadata", ["metadata", "no_metadata"])
def test_labels_that_are_not_as_many_as_the_classes_of_an_ssd_are_told(
    infer: Infer, shared_data: Path, tmp_path: Path, metadata: str
) -> None:
    model = shared_data / f"models/detection/coco_ssd_mobilenet_v1_{metadata}.tflite"  # its operator knows 90 classes
    labels = tmp_path / "labels.txt"

    def say(lines: int) -> Said:
        labels.write_text("".join(f"label {number}\n" for number in range(lines)))
        return infer(model, shared_data / "images/pets.jpg", "--labels", labels)

    for lines, hint in ((91, "the first line stands for the background"), (200, "the label file this model was")):
        said = say(lines)
        assert (said.code, said.lines) == (1, [])
        assert said.errors == [f"the model has 90 classes; there are {lines} labels"]
        assert hint in said.hints[0]
    said = say(1)
    assert said.code == 0
    assert [result["label"] for result in said.lines[0]["results"]] == [None, None]  # dogs, which are class 17
    assert "1 label for 90 classes: objects of the others are told by number" in said.notes
    assert not any("classes" in note for note in say(90).notes)
