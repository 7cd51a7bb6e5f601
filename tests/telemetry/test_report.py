"""What the workers say between two telemetry messages, added up."""

from edge_agent.inference.ipc import Figures
from edge_agent.telemetry.report import PipelineReport, Sum, telemetry_tree

A, B = "a" * 64, "b" * 64


def figures(out: int, *, digest: str = A, dropped: int = 0, failed: int = 0, invoke_ms: int = 50) -> Figures:
    """`invoke_ms` is a bucket: 50 is 11.5 ms."""
    frames_in = out + dropped + failed
    latency = {"invoke": {str(invoke_ms): out}} if out else {}
    return Figures("main", frames_in, out, out, dropped, failed, latency, {"invoke": 12.0} if out else {}, digest)


def test_figures_add_up_until_they_are_taken() -> None:
    pipeline = Sum(now_s=100.0)
    pipeline.add(figures(30, dropped=2))
    pipeline.add(figures(30, failed=1))
    report = PipelineReport({"main": pipeline.take(now_s=104.0)}, pss_bytes=50_000_000)
    assert report.to_json() == {
        "frames": {"in": 63, "out": 60, "dropped": 2, "failed": 1},
        "latency_ms": {"invoke": {"count": 60, "p50": 11.188, "p95": 11.188, "p99": 11.188, "max": 12.0}},
        "fps": 15.0,
        "digest": A,
        "pss_bytes": 50_000_000,
    }


def test_taking_them_leaves_nothing_but_the_release() -> None:
    pipeline = Sum(now_s=0.0)
    pipeline.add(figures(30))
    pipeline.take(now_s=1.0)
    report = pipeline.take(now_s=2.0)
    frames = {"in": 0, "out": 0, "dropped": 0, "failed": 0}
    assert report.to_json() == {"frames": frames, "latency_ms": {}, "fps": 0.0, "digest": A}


def test_the_release_named_is_the_last_one_that_answered() -> None:
    pipeline = Sum(now_s=0.0)
    pipeline.add(figures(30))
    pipeline.add(figures(1, digest=B))
    assert pipeline.take(now_s=1.0).digest == B


def test_several_stages_have_their_own_figures_beside_those_of_the_first() -> None:
    find, name = Sum(now_s=0.0), Sum(now_s=0.0)
    find.add(figures(10))
    name.add(figures(3, digest=B))
    tree = PipelineReport({"find": find.take(1.0), "name": name.take(1.0)}, None).to_json()
    assert (tree["digest"], tree["fps"]) == (A, 10.0)
    stages = tree["stages"]
    assert isinstance(stages, dict)
    assert (stages["find"]["fps"], stages["name"]["fps"], stages["name"]["digest"]) == (10.0, 3.0, B)


def test_the_tree_is_plain_values() -> None:
    pipeline = Sum(now_s=0.0)
    tree = telemetry_tree(
        at_s=1_750_000_000.12345,
        uptime_s=61.04,
        pipelines={"birds": PipelineReport({"main": pipeline.take(1.0)}, None)},
        resources={"cpu_share": 0.25},
    )
    assert tree == {
        "schema": 1,
        "at_s": 1_750_000_000.123,
        "uptime_s": 61.0,
        "pipelines": {
            "birds": {"frames": {"in": 0, "out": 0, "dropped": 0, "failed": 0}, "latency_ms": {}, "fps": 0.0}
        },
        "resources": {"cpu_share": 0.25},
    }
