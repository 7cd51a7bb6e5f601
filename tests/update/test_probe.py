"""Proving releases in a child process: real models, real signals."""

import json
import platform
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import Reason, RejectionError, WorkerCrashedError
from edge_agent.inference.model import open_release
from edge_agent.release.golden import GoldenVectors, format_golden
from edge_agent.release.manifest import GOLDEN_FILE, MANIFEST_FILE, Limits, Manifest, Runtime, parse_manifest
from edge_agent.update import probe as probe_module
from edge_agent.update.probe import Circumstances, ProbeReport, Refused, Unable, check_runtime, format_answer, probe
from tests.inference.releases import DIGITS, GRAY, LABELS
from tests.sim.artifact import make_members, unpack

PATIENCE_S = 100.0


def _manifest(directory: Path) -> Manifest:
    return parse_manifest((directory / MANIFEST_FILE).read_bytes())


def _release(directory: Path, *, golden: GoldenVectors | None = None, **more: Any) -> Path:
    content = format_golden(golden) if golden else None
    model = (DIGITS / "digits_v1.tflite").read_bytes()
    return unpack(make_members(model, source=GRAY, **({"labels": LABELS, "golden": content} | more)), directory)


def _probe(directory: Path, *, threads: int = 1) -> ProbeReport:
    return probe(directory, _manifest(directory), told=Circumstances(threads, timeout_s=PATIENCE_S))


def _refusal(directory: Path) -> RejectionError:
    with pytest.raises(RejectionError) as caught:
        _probe(directory)
    return caught.value


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> GoldenVectors:
    """What the model of the digits answers."""
    generator = np.random.default_rng(0)
    with open_release(_release(tmp_path_factory.mktemp("golden")), 1) as model:
        shape = model.engine.inputs[0].shape
        inputs = [(generator.random(shape, dtype=np.float32),) for _ in range(3)]
        outputs = [tuple(model.real_outputs(model.engine.invoke(vector))) for vector in inputs]
    return GoldenVectors(tuple(inputs), tuple(outputs))


def test_a_good_release_is_proved_and_measured(tmp_path: Path, golden: GoldenVectors) -> None:
    report = _probe(_release(tmp_path, golden=golden, limits=Limits(p95_ms=5000.0, memory_bytes=1 << 30)))

    assert report.golden_vectors == 3
    assert report.disagreement is not None
    assert report.disagreement < 1e-3
    assert 0 < report.p50_ms <= report.p95_ms
    assert report.load_ms > 0
    assert 10e6 < report.memory_bytes < 1e9
    assert report.library


def test_a_release_without_golden_vectors_is_proved_as_far_as_it_goes(tmp_path: Path) -> None:
    report = _probe(_release(tmp_path), threads=2)

    assert report.golden_vectors == 0
    assert report.disagreement is None


def test_wrong_answers_are_refused_with_their_figures(tmp_path: Path, golden: GoldenVectors) -> None:
    turned = tuple((np.ascontiguousarray(vector[0][..., ::-1]),) for vector in golden.outputs)
    refusal = _refusal(_release(tmp_path, golden=GoldenVectors(golden.inputs, turned)))

    assert refusal.reason is Reason.GOLDEN_MISMATCH
    assert "of 3 golden vectors disagree" in str(refusal)
    assert "0.05 is allowed" in str(refusal)
    assert refusal.hint


def test_golden_vectors_of_another_model_are_refused(tmp_path: Path, golden: GoldenVectors) -> None:
    small = tuple((vector[0][:, :8, :8, :],) for vector in golden.inputs)
    refusal = _refusal(_release(tmp_path, golden=GoldenVectors(small, golden.outputs)))

    assert refusal.reason is Reason.GOLDEN_MISMATCH
    assert "the golden inputs are float32[1, 8, 8, 1]; the model takes" in str(refusal)


@pytest.mark.parametrize(
    ("more", "reason", "text"),
    [
        ({"limits": Limits(p95_ms=0.0001)}, Reason.TOO_SLOW, "at most 0.0001 ms"),
        ({"limits": Limits(memory_bytes=1_000_000)}, Reason.TOO_BIG, "at most 1.0 MB"),
        ({"labels": b"one\ntwo\n"}, Reason.LABELS_MISMATCH, "2"),
        ({"labels": b"\xff\xfe"}, Reason.BAD_MANIFEST, "labels"),
        ({"labels": b"\n"}, Reason.LABELS_MISMATCH, "holds no labels"),
        ({"task": "detection"}, Reason.INCOMPATIBLE, ""),
    ],
)
def test_a_release_that_does_not_keep_its_word_is_refused(
    tmp_path: Path, more: dict[str, Any], reason: Reason, text: str
) -> None:
    refusal = _refusal(_release(tmp_path, **more))

    assert refusal.reason is reason
    assert text in str(refusal)


def test_golden_vectors_that_cannot_be_read_are_refused(tmp_path: Path, golden: GoldenVectors) -> None:
    directory = _release(tmp_path, golden=golden)
    (directory / GOLDEN_FILE).write_bytes(b"no zip")

    assert _refusal(directory).reason is Reason.BAD_MANIFEST


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("truncated_half.tflite", Reason.NOT_A_MODEL),
        ("git_lfs_pointer.tflite", Reason.NOT_A_MODEL),
        ("posenet_custom_op.tflite", Reason.UNSUPPORTED_OPERATOR),
        ("mobilenet_v1_0.25_128_edgetpu.tflite", Reason.MISSING_DELEGATE),
    ],
)
def test_a_bad_model_is_refused_for_what_is_bad_about_it(
    shared_data: Path, tmp_path: Path, name: str, reason: Reason
) -> None:
    content = (shared_data / "bad_models" / name).read_bytes()
    refusal = _refusal(unpack(make_members(content), tmp_path))

    assert refusal.reason is reason
    assert refusal.hint
    assert str(refusal).startswith("model.tflite ")  # where this device keeps it is nobody's business


# --- what a model may do to its process ---------------------------------------------------------------------


@pytest.fixture
def impostor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Run a script in the place of the child: models that do this to their interpreter are hard to come by."""

    def install(script: str) -> None:
        path = tmp_path / "impostor"
        path.write_text(f"#!{sys.executable} -B\nimport ctypes, os, signal, sys, time\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(path))

    return install


def test_a_model_that_crashes_its_process_is_refused_and_the_signal_named(
    tmp_path: Path, impostor: Callable[[str], None]
) -> None:
    directory = _release(tmp_path / "release")
    impostor("sys.stderr.write('about to die\\n'); sys.stderr.flush(); ctypes.string_at(0)")
    refusal = _refusal(directory)

    assert refusal.reason is Reason.PROBE_CRASHED
    assert "signal SIGSEGV" in str(refusal)
    assert "about to die" in str(refusal)


@pytest.mark.parametrize(
    "script",
    ["os.kill(os.getpid(), signal.SIGKILL)", "sys.exit(70)", "print('no json')", "print('{}')", "print('[1]')", ""],
)
def test_a_child_without_a_result_has_crashed(tmp_path: Path, impostor: Callable[[str], None], script: str) -> None:
    directory = _release(tmp_path / "release")
    impostor(script)

    assert _refusal(directory).reason is Reason.PROBE_CRASHED


def test_a_result_of_a_child_that_died_afterwards_does_not_count(
    tmp_path: Path, impostor: Callable[[str], None]
) -> None:
    proved = ProbeReport("x", delegated=True, load_ms=1, p50_ms=1, p95_ms=1, memory_bytes=1, golden_vectors=0)
    directory = _release(tmp_path / "release")
    impostor(f"print({format_answer(proved)!r}, flush=True)\nos.kill(os.getpid(), signal.SIGABRT)")

    assert "SIGABRT" in str(_refusal(directory))


def test_a_model_that_hangs_is_ended_with_all_it_has_started(tmp_path: Path, impostor: Callable[[str], None]) -> None:
    directory = _release(tmp_path / "release")
    started = tmp_path / "pids"
    impostor(f"other = os.fork()\nopen({str(started)!r}, 'a').write(f'{{os.getpid()}}\\n')\ntime.sleep(600)")

    with pytest.raises(RejectionError) as caught:
        probe(directory, _manifest(directory), told=Circumstances(timeout_s=3.0))

    assert caught.value.reason is Reason.PROBE_TIMEOUT
    pids = started.read_text().split()
    assert len(pids) == 2
    for pid in pids:
        while _is_running(int(pid)):  # a killed process takes a moment to go; the test's time-out is the limit
            Event().wait(0.01)


def test_what_a_child_that_has_ended_leaves_behind_is_ended_too(
    tmp_path: Path, impostor: Callable[[str], None]
) -> None:
    directory = _release(tmp_path / "release")
    started = tmp_path / "pid"
    impostor(f"if os.fork(): sys.exit(0)\nopen({str(started)!r}, 'w').write(f'{{os.getpid()}}')\ntime.sleep(600)")

    with pytest.raises(RejectionError) as caught:
        probe(directory, _manifest(directory), told=Circumstances(timeout_s=3.0))

    assert caught.value.reason is Reason.PROBE_TIMEOUT  # its pipes were still held
    while _is_running(int(started.read_text())):
        Event().wait(0.01)


def test_what_a_child_has_started_ends_with_its_result(tmp_path: Path, impostor: Callable[[str], None]) -> None:
    proved = ProbeReport("x", delegated=True, load_ms=1, p50_ms=1, p95_ms=1, memory_bytes=1, golden_vectors=0)
    directory = _release(tmp_path / "release")
    started = tmp_path / "pid"
    impostor(
        "reading, writing = os.pipe()\n"
        "if os.fork():\n"
        f"    os.read(reading, 1)\n    print({format_answer(proved)!r}, flush=True)\n    sys.exit(0)\n"
        f"open({str(started)!r}, 'w').write(f'{{os.getpid()}}')\n"
        "os.close(1)\nos.close(2)\nos.write(writing, b'x')\ntime.sleep(600)"
    )

    assert _probe(directory) == proved
    while _is_running(int(started.read_text())):
        Event().wait(0.01)


# The real child with its real limits, but for what the model does.
_CHILD = """
import json
sys.path.insert(0, {root!r})
from dataclasses import replace
from edge_agent.update import probe_child as child
limit = child._limit_ourselves
child._limit_ourselves = lambda directory, told: limit(directory, replace(told, timeout_s={cpu_s}))
def prove(directory, told):
    {deed}
child.prove = prove
sys.exit(child.main(sys.argv[4:]))
"""


@pytest.mark.parametrize(
    ("deed", "reason", "text"),
    [
        ("while True: pass", Reason.PROBE_TIMEOUT, "processor time"),
        ("kept = []\n    while True: kept.append(bytearray(64 << 20))", Reason.TOO_BIG, "ran out of memory"),
        ("ctypes.CDLL('libstdc++.so.6')._Znwm(ctypes.c_size_t(1 << 40))", Reason.TOO_BIG, "ran out of the memory"),
    ],
)
def test_a_model_that_takes_all_it_can_get_is_stopped_by_the_limits_of_its_process(
    tmp_path: Path, impostor: Callable[[str], None], deed: str, reason: Reason, text: str
) -> None:
    """RLIMIT_CPU and RLIMIT_AS themselves: the wall clock's limit is far away."""
    directory = _release(tmp_path / "release")
    cpu_s = 1.0 if reason is Reason.PROBE_TIMEOUT else 60.0  # zeroing memory takes its time on a busy machine
    impostor(_CHILD.format(root=str(Path(__file__).parent.parent.parent), deed=deed, cpu_s=cpu_s))

    refusal = _refusal(directory)

    assert refusal.reason is reason
    assert text in str(refusal)


def test_a_probe_ends_with_the_agent_and_says_nothing_of_the_release(
    tmp_path: Path, impostor: Callable[[str], None]
) -> None:
    directory = _release(tmp_path / "release")
    started = tmp_path / "pid"
    impostor(f"open({str(started)!r}, 'w').write(f'{{os.getpid()}}\\n')\ntime.sleep(600)")
    stop = Event()

    def end_once_it_runs() -> None:
        while not (started.exists() and started.read_text().endswith("\n")):
            Event().wait(0.01)
        stop.set()

    Thread(target=end_once_it_runs, daemon=True).start()
    with pytest.raises(WorkerCrashedError, match="the agent is stopping"):
        probe(directory, _manifest(directory), told=Circumstances(timeout_s=600.0), stop=stop)

    while _is_running(int(started.read_text())):
        Event().wait(0.01)


def _is_running(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_a_child_that_cannot_be_started_says_nothing_of_the_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = _release(tmp_path)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nothing"))

    with pytest.raises(WorkerCrashedError, match="cannot be started"):
        _probe(directory)


def test_a_device_without_an_interpreter_says_nothing_of_the_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = _release(tmp_path)
    monkeypatch.setenv("EDGE_DEPLOY_ENGINE", "nonesuch")

    with pytest.raises(WorkerCrashedError, match="nonesuch"):
        _probe(directory)


def test_the_child_may_not_take_all_the_memory_and_goes_first_when_it_is_short(tmp_path: Path) -> None:
    script = (
        "import pathlib, resource, edge_agent.update.probe_child as child\n"
        f"child._limit_ourselves(pathlib.Path({str(tmp_path)!r}), child.Circumstances(timeout_s=10.0))\n"
        "try:\n bytearray(4 << 30)\nexcept MemoryError:\n print('refused')\n"
        "print(resource.getrlimit(resource.RLIMIT_CPU)[0], open('/proc/self/oom_score_adj').read().strip())\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines() == ["refused", "10 1000"]


def test_the_supervisors_side_needs_no_interpreter() -> None:
    script = (
        "import sys, edge_agent.update.updater\n"
        "print(sorted({'numpy', 'PIL', 'ai_edge_litert', 'tflite_runtime'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


# --- what the device has ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("runtime", "reason"),
    [
        (Runtime(agent="99.0"), Reason.INCOMPATIBLE),
        (Runtime(machine="pdp11"), Reason.INCOMPATIBLE),
    ],
)
def test_a_release_for_another_device_is_refused_before_anything_is_run(
    tmp_path: Path, runtime: Runtime, reason: Reason, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = _release(tmp_path, runtime=runtime)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nothing"))

    assert _refusal(directory).reason is reason


def test_a_release_for_a_delegate_is_judged_by_what_the_stage_has(tmp_path: Path) -> None:
    """Whether the library can be loaded is found out by the child."""
    assert _refusal(_release(tmp_path, runtime=Runtime(delegate="edgetpu"))).reason is Reason.MISSING_DELEGATE
    check_runtime(replace(_manifest(_release(tmp_path / "other")), runtime=Runtime(delegate="edgetpu")))


@pytest.mark.parametrize("agent", ["0.0.9", "0.1", "0.1.0", "nonsense"])
def test_an_agent_that_is_new_enough_will_do(tmp_path: Path, agent: str) -> None:
    manifest = _manifest(_release(tmp_path))

    check_runtime(replace(manifest, runtime=Runtime(agent=agent, machine=platform.machine())))


# --- what the child says ------------------------------------------------------------------------------------


def test_every_answer_reads_back() -> None:
    proved = ProbeReport("x", delegated=False, load_ms=1.5, p50_ms=1, p95_ms=2, memory_bytes=3, golden_vectors=0)
    for answer in (proved, Refused(Reason.TOO_BIG, "big", "smaller"), Unable("no", None)):
        assert (
            probe_module._parse_answer(b"INFO: a library speaks\n" + format_answer(answer).encode() + b"\n") == answer
        )


@given(said=st.binary(max_size=100) | st.text(max_size=100).map(lambda text: json.dumps({"kind": text}).encode()))
def test_whatever_a_child_says_is_an_answer_or_none(said: bytes) -> None:
    assert probe_module._parse_answer(said) is None
