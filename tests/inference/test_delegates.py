"""External delegates: a real one, compiled here, and machines laid out in a folder for those that are not here."""

import os
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.config.pipeline import Delegate
from edge_agent.errors import ModelError, Reason
from edge_agent.inference.delegates import (
    device_problem,
    edge_tpu_devices,
    elf_machine,
    find_library,
    library_problem,
    preflight,
)
from edge_agent.inference.model_file import inspect_model
from edge_agent.inference.tflite import open_engine
from tests.inference.native.build import DELEGATE, build

MOBILENET = "models/classification/mobilenet_v2_1.0_224_quant.tflite"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The test delegate; its option `mode` says what it does."""
    return str(build(DELEGATE, tmp_path_factory.mktemp("native") / "libtestdelegate.so"))


def delegate(library: str, mode: str, *, fallback: bool = False) -> Delegate:
    return Delegate(library, {"mode": mode}, fallback=fallback)


# --- a real one -----------------------------------------------------------------------------------------------


@pytest.mark.shared_data
def test_a_delegate_takes_the_model_and_is_told(shared_data: Path, library: str) -> None:
    with open_engine(shared_data / MOBILENET, delegate=delegate(library, "take")) as engine:
        assert (engine.report.delegate, engine.report.fell_back) == (library, None)
        assert engine.report.delegated
        assert engine.report.partitions == 1
        assert engine.report.delegated_operators == engine.report.operators == 66
        engine.invoke([np.zeros(tensor.shape, tensor.dtype) for tensor in engine.inputs])


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("idle", "it took none of the 66 operators"),
        ("refuse", "the test delegate refuses"),
        ("fail_prepare", "the test delegate cannot prepare"),
    ],
)
def test_a_delegate_that_fails_is_fallen_back_from_only_where_that_is_allowed(
    shared_data: Path, library: str, mode: str, words: str
) -> None:
    with pytest.raises(ModelError, match=words) as caught:
        open_engine(shared_data / MOBILENET, delegate=delegate(library, mode))
    assert caught.value.reason is Reason.MISSING_DELEGATE
    assert caught.value.hint is not None
    assert "fallback" in caught.value.hint

    with open_engine(shared_data / MOBILENET, delegate=delegate(library, mode, fallback=True)) as engine:
        assert engine.report.delegate is None
        assert engine.report.fell_back is not None
        assert words in engine.report.fell_back
        zeros = [np.zeros(tensor.shape, tensor.dtype) for tensor in engine.inputs]
        with open_engine(shared_data / MOBILENET) as plain:
            assert np.array_equal(engine.invoke(zeros)[0], plain.invoke(zeros)[0]), "it runs as without"
            assert plain.report.fell_back is None


@pytest.mark.shared_data
def test_a_delegate_that_fails_while_running_is_an_error_of_the_model(shared_data: Path, library: str) -> None:
    with open_engine(shared_data / MOBILENET, delegate=delegate(library, "fail_invoke", fallback=True)) as engine:
        with pytest.raises(ModelError, match="the test delegate fails") as caught:
            engine.invoke([np.zeros(tensor.shape, tensor.dtype) for tensor in engine.inputs])
        assert caught.value.reason is Reason.LOAD_FAILED


def test_a_delegate_that_fails_while_sizes_are_found_out_is_fallen_back_from(library: str, tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert.schema_py_generated")
    from tests.inference.models import make

    path = tmp_path / "scalar.tflite"
    path.write_bytes(make.doubled())
    with open_engine(path, delegate=delegate(library, "fail_invoke", fallback=True)) as engine:
        assert engine.report.fell_back is not None
        assert "the test delegate fails" in engine.report.fell_back
        assert engine.invoke([np.zeros(tensor.shape, tensor.dtype) for tensor in engine.inputs])
    with pytest.raises(ModelError) as caught:
        open_engine(path, delegate=delegate(library, "fail_invoke"))
    assert caught.value.reason is Reason.MISSING_DELEGATE


@pytest.mark.shared_data
def test_a_broken_model_is_not_blamed_on_its_delegate(shared_data: Path, library: str) -> None:
    with pytest.raises(ModelError) as caught:
        open_engine(shared_data / "bad_models/posenet_custom_op.tflite", delegate=delegate(library, "idle"))
    assert caught.value.reason is Reason.UNSUPPORTED_OPERATOR


@pytest.mark.shared_data
def test_a_library_that_is_not_there_is_fallen_back_from_too(shared_data: Path, tmp_path: Path) -> None:
    missing = str(tmp_path / "libnone.so")
    with pytest.raises(ModelError, match="not on this machine") as caught:
        open_engine(shared_data / MOBILENET, delegate=Delegate(missing))
    assert caught.value.reason is Reason.MISSING_DELEGATE
    with open_engine(shared_data / MOBILENET, delegate=Delegate(missing, fallback=True)) as engine:
        assert engine.report.fell_back is not None


@pytest.mark.shared_data
def test_a_model_for_the_edge_tpu_says_what_became_of_its_delegate(shared_data: Path) -> None:
    compiled = shared_data / "bad_models/mobilenet_v1_0.25_128_edgetpu.tflite"
    with pytest.raises(ModelError, match="no Edge TPU delegate is in use") as plain:
        open_engine(compiled)
    assert plain.value.hint is not None
    assert "libedgetpu.so.1" in plain.value.hint
    here = find_library("libedgetpu.so.1")[0] is not None
    words = "Edge TPU" if here else "libedgetpu.so.1 is not on this machine"
    for fallback in (False, True):  # there is nothing to fall back to
        with pytest.raises(ModelError, match=words) as caught:
            open_engine(compiled, delegate=Delegate("libedgetpu.so.1", fallback=fallback))
        assert caught.value.reason is Reason.MISSING_DELEGATE


@pytest.mark.shared_data
def test_a_model_that_is_not_compiled_for_the_edge_tpu_would_run_on_the_cpu(shared_data: Path) -> None:
    problem = preflight(Delegate("libedgetpu.so.1"), inspect_model(shared_data / MOBILENET))
    assert problem is not None
    assert "not compiled for the Edge TPU" in problem.detail
    assert "edgetpu_compiler" in problem.hint


# --- what keeps a library from being one ------------------------------------------------------------------------


def test_a_working_delegate_has_no_problem(library: str) -> None:
    assert library_problem(library) is None
    assert device_problem(library) is None


def test_a_missing_library_is_told_with_where_was_looked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "usr/lib/aarch64-linux-gnu").mkdir(parents=True)
    (tmp_path / "opt/vendor").mkdir(parents=True)
    (tmp_path / "etc/ld.so.conf.d").mkdir(parents=True)
    (tmp_path / "etc/ld.so.conf").write_text("include /etc/ld.so.conf.d/*.conf\n")
    (tmp_path / "etc/ld.so.conf.d/vendor.conf").write_text("# theirs\n/opt/vendor\n")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    problem = library_problem("libedgetpu.so.1", tmp_path)
    assert problem is not None
    assert "libedgetpu1-std" in problem.hint
    for directory in (".", "usr/lib/aarch64-linux-gnu", "opt/vendor"):
        assert str(tmp_path / directory) in problem.detail
    (tmp_path / "opt/vendor/libedgetpu.so.1").write_bytes(b"")
    assert find_library("libedgetpu.so.1", tmp_path)[0] == tmp_path / "opt/vendor/libedgetpu.so.1"


def test_a_library_for_another_machine_is_told_by_its_header(library: str, tmp_path: Path) -> None:
    content = bytearray(Path(library).read_bytes())
    other = 183 if struct.unpack_from("<H", content, 18)[0] == 62 else 62
    struct.pack_into("<H", content, 18, other)
    path = tmp_path / "libother.so"
    path.write_bytes(content)
    problem = library_problem(str(path))
    assert problem is not None
    assert f"built for {elf_machine(path)}; this Python is for {elf_machine(Path(sys.executable))}" in problem.detail


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"#!/bin/sh\n" * 10])
def test_a_file_that_is_no_library_is_told(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "libtext.so"
    path.write_bytes(content)
    problem = library_problem(str(path))
    assert problem is not None
    assert "is no shared library" in problem.detail


def test_a_library_that_needs_another_one_names_it(tmp_path: Path) -> None:
    (tmp_path / "needed.c").write_text("int needed(void) { return 1; }")
    (tmp_path / "needs.c").write_text("int needed(void); int needs(void) { return needed(); }")
    needed = build(tmp_path / "needed.c", tmp_path / "libneeded.so")
    needs = build(tmp_path / "needs.c", tmp_path / "libneeds.so", f"-L{tmp_path}", "-lneeded")
    needed.unlink()
    problem = library_problem(str(needs))
    assert problem is not None
    assert problem.hint == "install libneeded.so, which it needs"


def test_a_library_that_is_no_delegate_is_told(tmp_path: Path) -> None:
    (tmp_path / "plain.c").write_text("int plain(void) { return 1; }")
    problem = library_problem(str(build(tmp_path / "plain.c", tmp_path / "libplain.so")))
    assert problem is not None
    assert "no tflite_plugin_create_delegate and no tflite_plugin_destroy_delegate" in problem.detail


def test_an_edge_tpu_is_found_on_usb_and_on_pcie(tmp_path: Path) -> None:
    problem = device_problem("libedgetpu.so.1", tmp_path)
    assert problem is not None
    assert "no Edge TPU is plugged in" in problem.detail
    for name, vendor, product in (("1-1", "046d", "0825"), ("2-1", "18d1", "9302")):
        device = tmp_path / "sys/bus/usb/devices" / name
        device.mkdir(parents=True)
        for attribute, value in (("idVendor", vendor), ("idProduct", product), ("busnum", "2"), ("devnum", "7")):
            (device / attribute).write_text(f"{value}\n")
    node = tmp_path / "dev/bus/usb/002/007"
    assert edge_tpu_devices(tmp_path) == [node]
    missing = device_problem("libedgetpu.so.1", tmp_path)
    assert missing is not None
    assert "may not be used by this user" in missing.detail
    assert "plugdev" in missing.hint
    node.parent.mkdir(parents=True)
    node.touch()
    assert device_problem("libedgetpu.so.1", tmp_path) is None
    (tmp_path / "dev/apex_0").touch()
    assert (tmp_path / "dev/apex_0") in edge_tpu_devices(tmp_path)


def test_an_edge_tpu_that_this_user_may_not_use_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/apex_0").touch(mode=0)
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may use every device
    problem = device_problem("/usr/lib/libedgetpu.so.1", tmp_path)
    assert problem is not None
    assert "apex" in problem.hint


@given(st.binary(max_size=64))
def test_any_file_has_a_machine_or_none(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.so"
    path.write_bytes(content)
    assert elf_machine(path) is None or content.startswith(b"\x7fELF")
    path.write_bytes(b"\x7fELF" + content)
    elf_machine(path)
    assert elf_machine(path.with_name("missing.so")) is None
