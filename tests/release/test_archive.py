"""The `.edge` file: the same members make the same bytes, and only those bytes are read."""

import hashlib
import io
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_agent.errors import ArtifactError, Reason
from edge_agent.release.archive import check_members, digest_of, format_archive, read_artifact
from edge_agent.release.manifest import MANIFEST_FILE, MODEL_FILE
from tests.sim.artifact import make_members, pack

MEMBERS = make_members(b"a model", labels=b"cat\ndog\n")


def test_the_bytes_of_an_artifact_are_locked() -> None:
    """Devices compute this digest from unpacked members: were it to change, every release would look rotten."""
    members = {MANIFEST_FILE: b"{}\n", MODEL_FILE: bytes(range(256)) * 5000, "labels.txt": b"cat\n"}
    digest = hashlib.sha256(format_archive(members)).hexdigest()
    assert digest == "c70865517d42cfd94afe9cc5947ba4380fa56479a4a582d90e5e40ae6aa87205"


def test_the_order_members_are_given_in_changes_nothing() -> None:
    assert format_archive(dict(reversed(MEMBERS.items()))) == format_archive(MEMBERS)


def test_the_digest_is_computed_without_building_the_artifact() -> None:
    content = format_archive(MEMBERS)
    in_small_blocks = {
        name: (lambda member=member: (member[start : start + 3] for start in range(0, len(member), 3)))
        for name, member in MEMBERS.items()
    }
    assert digest_of(in_small_blocks) == (hashlib.sha256(content).hexdigest(), len(content))


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    artifact = read_artifact(pack(MEMBERS, tmp_path / "a.edge"))
    assert artifact.members == MEMBERS
    assert artifact.manifest.name == "model"
    assert artifact.digest == hashlib.sha256((tmp_path / "a.edge").read_bytes()).hexdigest()


def test_any_zip_program_reads_it(tmp_path: Path) -> None:
    with zipfile.ZipFile(pack(MEMBERS, tmp_path / "a.edge")) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [MANIFEST_FILE, MODEL_FILE, "labels.txt"]


def test_a_repacked_artifact_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.edge"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in MEMBERS.items():
            archive.writestr(name, content)
    with pytest.raises(ArtifactError, match="canonical") as caught:
        read_artifact(path)
    assert caught.value.reason is Reason.INTEGRITY


def test_a_compressed_artifact_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "a.edge"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(MANIFEST_FILE, MEMBERS[MANIFEST_FILE])
        archive.writestr(MODEL_FILE, bytes(50_000_000))
    with pytest.raises(ArtifactError, match="compressed") as caught:
        read_artifact(path)
    assert caught.value.reason is Reason.INTEGRITY


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({}, Reason.BAD_MANIFEST),
        ({MODEL_FILE: b"a model"}, Reason.BAD_MANIFEST),
        ({**MEMBERS, MANIFEST_FILE: b"{}"}, Reason.BAD_MANIFEST),
        ({**MEMBERS, MANIFEST_FILE: b" " * 1_000_001}, Reason.BAD_MANIFEST),
        ({**MEMBERS, MODEL_FILE: b"A model"}, Reason.INTEGRITY),
        ({**MEMBERS, MODEL_FILE: b""}, Reason.INTEGRITY),
        ({**MEMBERS, "report.json": b"{}"}, Reason.INTEGRITY),
        ({name: MEMBERS[name] for name in (MANIFEST_FILE, MODEL_FILE)}, Reason.INTEGRITY),
    ],
)
def test_members_that_are_not_those_listed_are_refused(members: dict[str, bytes], reason: Reason) -> None:
    with pytest.raises(ArtifactError) as caught:
        check_members(members)
    assert caught.value.reason is reason


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x05\x06" + bytes(18)])
def test_what_is_no_artifact_says_so_with_a_hint(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.edge"
    path.write_bytes(content)
    with pytest.raises(ArtifactError):
        read_artifact(path)


def test_a_missing_artifact_says_so(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="No such file") as caught:
        read_artifact(tmp_path / "gone.edge")
    assert caught.value.hint


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_an_artifact_with_any_byte_changed_or_missing_is_refused(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(format_archive(MEMBERS))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        for _ in range(data.draw(st.integers(1, 4))):
            position = data.draw(st.integers(0, len(content) - 1))
            content[position] ^= data.draw(st.integers(1, 255))
    if bytes(content) == format_archive(MEMBERS):
        return
    path = tmp_path / "a.edge"
    path.write_bytes(content)
    with pytest.raises(ArtifactError):
        read_artifact(path)


def test_the_zip_has_no_clock_and_no_compression() -> None:
    with zipfile.ZipFile(io.BytesIO(format_archive(MEMBERS))) as archive:
        for info in archive.infolist():
            assert info.date_time == (1980, 1, 1, 0, 0, 0)
            assert info.compress_type == zipfile.ZIP_STORED
