"""Which package may import which. The lists are the architecture; keep them short."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = ("edge_agent", "converter")

# Each imports only what stands to its left (a package may import itself).
DEVICE = (
    "errors", "schema", "clock", "histogram", "disk", "config", "release", "transform", "tasks", "inference",
    "update", "telemetry", "link", "notify", "control", "service", "cli",
)  # fmt: skip
SHARED_WITH_LAPTOP = (
    "errors", "schema", "clock", "disk", "config", "histogram", "release", "transform", "tasks",
    "inference.engine", "inference.tflite", "inference.model", "inference.model_file", "inference.guess",
    "link.topics", "link.messages", "link.mqtt", "link.broker", "link.events", "link.collector",
)  # fmt: skip
# One place per foreign library (or one package, where it ends with a slash).
ONLY_IN = {
    "paho": ("edge_agent/link/connection.py",),
    "ai_edge_litert": ("edge_agent/inference/tflite.py", "converter/tflite_schema.py"),
    "tflite_runtime": ("edge_agent/inference/tflite.py",),
    "ai_edge_quantizer": ("converter/quantize.py",),
    "tensorflow": ("converter/frontends/keras.py",),
    "keras": ("converter/frontends/keras.py",),
    "tuf": ("edge_agent/release/verify_child.py", "converter/publish/"),
    "securesystemslib": ("converter/publish/",),
    "av": ("edge_agent/inference/sources/video.py",),
    "psutil": ("edge_agent/telemetry/resources.py",),
    "sqlite3": ("edge_agent/telemetry/outbox.py",),
    "click": ("edge_agent/cli.py", "converter/cli.py", "converter/commands/"),
}


def test_imports_point_left() -> None:
    assert sorted(set(_wrong_directions())) == []


def test_each_foreign_library_has_one_place() -> None:
    wrong = [
        f"{path}:{line} imports {name}"
        for path, name, line in _imports()
        for places in [ONLY_IN.get(name.split(".")[0])]
        if places and not any(path == place or (place.endswith("/") and path.startswith(place)) for place in places)
    ]
    assert wrong == []


def test_every_module_is_known_to_the_architecture() -> None:
    here = {path.stem if path.is_file() else path.name for path in (ROOT / "edge_agent").iterdir()}
    assert here - {"__init__", "__main__", "__pycache__"} == set(DEVICE)


def _wrong_directions() -> Iterator[str]:
    for path, name, line in _imports():
        package, _, rest = name.partition(".")
        if package not in PACKAGES or not rest:
            continue
        mine = path.removesuffix(".py").split("/")
        if mine[0] == "converter" and package == "edge_agent":
            if not any(rest == shared or rest.startswith(f"{shared}.") for shared in SHARED_WITH_LAPTOP):
                if rest in ("__version__", "inference", "link"):  # the package itself, in `from package import module`
                    continue
                yield f"{path}:{line} must not import {name}"
        elif mine[0] == "edge_agent" and package == "converter":
            yield f"{path}:{line} must not import {name}"
        elif mine[0] == "edge_agent" and mine[1] in DEVICE:
            theirs = rest.split(".")[0]
            if theirs in DEVICE and DEVICE.index(theirs) > DEVICE.index(mine[1]):
                yield f"{path}:{line} must not import {name}"


def _imports() -> Iterator[tuple[str, str, int]]:
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            path = file.relative_to(ROOT).as_posix()
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    for alias in node.names:
                        yield path, alias.name, node.lineno
                elif isinstance(node, ast.ImportFrom) and node.module:
                    yield path, node.module, node.lineno
                    for alias in node.names:
                        yield path, f"{node.module}.{alias.name}", node.lineno
