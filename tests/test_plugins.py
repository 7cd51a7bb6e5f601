"""Entry points of other distributions, found by what is really on the import path."""

import sys
from pathlib import Path

import pytest

from edge_agent.plugins import PluginError, installed, load

GROUP = "edge_deploy.tasks"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages of its own."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def install(site: Path, distribution: str, entry_points: str, module: str = "") -> None:
    """What `pip install` leaves behind: a module, and metadata with entry points."""
    name = distribution.replace("-", "_")
    sys.modules.pop(name, None)
    (site / f"{name}.py").write_text(module, encoding="utf-8")
    info = site / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n{entry_points}\n", encoding="utf-8")


def test_an_installed_plugin_is_found_and_called(site: Path) -> None:
    install(site, "edge-meter", "meter = edge_meter:read", "def read(value):\n    return value + 1\n")
    assert load(GROUP, "meter")(41) == 42


def test_nothing_is_imported_before_it_is_asked_for(site: Path) -> None:
    install(site, "edge-boom", "boom = edge_boom:read", "raise RuntimeError('imported')\n")
    assert "boom" in installed(GROUP)
    assert "edge_boom" not in sys.modules


def test_an_unknown_name_is_answered_with_those_that_there_are(site: Path) -> None:
    install(site, "edge-meter", "meter = edge_meter:read\ngauge = edge_meter:read", "def read(): ...\n")
    with pytest.raises(PluginError, match=r"no plugin metre .*gauge, meter") as caught:
        load(GROUP, "metre")
    assert "pip install" in (caught.value.hint or "")


def test_without_any_plugin_the_error_says_none() -> None:
    with pytest.raises(PluginError, match="installed: none"):
        load("edge_deploy.nothing_of_the_kind", "meter")


@pytest.mark.parametrize(
    ("module", "told"),
    [
        ("import a_library_that_nobody_has\n", "ModuleNotFoundError: No module named 'a_library_that_nobody_has'"),
        ("def reed(): ...\n", "AttributeError"),
        ("def read(:\n", "SyntaxError"),
        ("raise RuntimeError('no such board')\n", "RuntimeError: no such board"),
        ("open('/no/such/device')\n", "FileNotFoundError"),
    ],
)
def test_a_plugin_that_cannot_be_imported_is_named_with_the_cause(site: Path, module: str, told: str) -> None:
    install(site, "edge-broken", "broken = edge_broken:read", module)
    with pytest.raises(PluginError, match=r"plugin broken of edge_deploy.tasks .*cannot be imported") as caught:
        load(GROUP, "broken")
    assert told in str(caught.value)


def test_what_cannot_be_called_is_refused(site: Path) -> None:
    install(site, "edge-number", "number = edge_number:read", "read = 7\n")
    with pytest.raises(PluginError, match="of type int, and cannot be called"):
        load(GROUP, "number")


def test_two_distributions_with_one_name_are_told_apart_by_the_operator(site: Path) -> None:
    install(site, "edge-one", "meter = edge_one:read", "def read(): ...\n")
    install(site, "edge-two", "meter = edge_two:read", "def read(): ...\n")
    with pytest.raises(PluginError, match=r"edge-one \(edge_one:read\), edge-two \(edge_two:read\)"):
        load(GROUP, "meter")
