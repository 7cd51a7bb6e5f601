"""Which package may import which. The lists are the architecture; keep them short."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("edge_agent", "converter")

# Each imports only what stands to its left (a package may import itself).
DEVICE = (
    "errors", "schema", "clock", "histogram", "disk", "database", "config", "plugins", "release", "transform", "tasks",
    "inference", "update", "telemetry", "link", "notify", "control", "console", "service", "bench", "doctor",
    "commands", "cli",
)  # fmt: skip
SHARED_WITH_LAPTOP = (
    "errors", "schema", "clock", "disk", "config", "histogram", "console", "plugins", "release", "transform", "tasks",
    "inference.engine", "inference.tflite", "inference.model", "inference.model_file", "inference.guess",
    "inference.said",
    "inference.file_kind", "inference.samples.folder",
    "link.topics", "link.messages", "link.samples", "link.mqtt", "link.broker", "link.events", "link.collector",
    "link.download", "link.https", "link.pace", "update.eligibility", "update.machine",
)  # fmt: skip
# One place per foreign library (or one package, where it ends with a slash).
ONLY_IN = {
    "paho": ("edge_agent/link/connection.py",),
    "ai_edge_litert": (
        "edge_agent/inference/tflite.py", "converter/tflite_schema.py", "converter/tflite_values.py",
        "converter/layers.py", "converter/quantization/observe.py",
    ),
    "tflite_runtime": ("edge_agent/inference/tflite.py",),
    "ai_edge_quantizer": ("converter/quantization/aeq.py",),
    "tensorflow": (
        "converter/frontends/keras.py", "converter/frontends/saved_model.py", "converter/frontends/frozen.py",
        "converter/frontends/tensorflow.py", "converter/training/keras_trainee.py",
    ),
    "keras": ("converter/frontends/keras.py", "converter/training/keras_trainee.py"),
    "torch": (
        "converter/frontends/torch.py", "converter/frontends/torch_graph.py", "converter/frontends/torch_state.py",
        "converter/frontends/lowering.py", "converter/frontends/onnx.py", "converter/frontends/onnx_model/",
        "converter/training/torch_trainee.py", "converter/training/torch_channels.py",
    ),
    "litert_torch": ("converter/frontends/lowering.py",),
    "onnxruntime": ("converter/frontends/onnx.py",),
    "sklearn": ("converter/frontends/sklearn.py",),
    "skl2onnx": ("converter/frontends/sklearn.py",),
    "joblib": ("converter/frontends/sklearn.py",),
    "tf_keras": ("converter/frontends/keras.py",),
    "h5py": ("converter/frontends/keras.py", "converter/data/hdf5.py"),
    "tuf": ("edge_agent/release/verify_child.py", "converter/publish/"),
    "securesystemslib": ("converter/publish/",),
    "av": ("edge_agent/inference/sources/libav.py",),
    "picamera2": ("edge_agent/inference/sources/csi.py",),
    "serial": ("edge_agent/inference/sources/serial_lines.py",),
    "smbus2": ("edge_agent/inference/sources/i2c.py",),
    "psutil": ("edge_agent/telemetry/resources.py",),
    "sqlite3": ("edge_agent/database.py",),
    "gpiod": ("edge_agent/inference/triggers/gpio.py",),
    "cryptography": ("converter/publish/keys.py", "edge_agent/release/sealing.py"),
    "flatbuffers": ("converter/tflite_schema.py", "converter/tflite_metadata.py"),
    "bsdiff4": ("converter/publish/patches.py",),
    "click": (
        "edge_agent/console.py", "edge_agent/commands/", "edge_agent/cli.py", "converter/cli.py", "converter/commands/",
    ),
    "importlib": (  # what is imported by its name cannot be seen here
        "edge_agent/inference/tflite.py", "edge_agent/doctor/software.py", "edge_agent/plugins.py",
        "converter/frontends/extras.py", "converter/frontends/lowering.py", "converter/source.py",
        "converter/quantization/quantize.py", "converter/convert.py", "converter/recipe.py",
        "edge_agent/inference/sources/i2c.py",
        "converter/data/generated.py",
    ),
}  # fmt: skip
EVERYWHERE = {"numpy", "PIL"}  # but in the supervisor: see tests/system/test_main_job.py

Import = tuple[str, str, int]  # the importing file, the imported name, the line


def test_imports_point_left() -> None:
    assert sorted(set(_wrong_directions(_imports()))) == []


def test_each_foreign_library_has_one_place() -> None:
    assert sorted(set(_wrong_places(_imports()))) == []


def test_metrics_are_numpy_alone() -> None:
    """So that anybody can check them, and use them elsewhere."""
    found = {name for path, name, _ in _imports() if path.startswith("converter/metrics/")}
    ours = {name for name in found if name.split(".")[0] in (*PACKAGES, *EVERYWHERE)}
    assert {name for name in ours if not name.startswith(("numpy", "converter.metrics"))} == set()


def test_every_place_of_a_foreign_library_is_in_use() -> None:
    used = {(name.split(".")[0], path) for path, name, _ in _imports()}
    unused = [
        (name, place)
        for name, places in ONLY_IN.items()
        for place in places
        if not any(name == library and path.startswith(place) for library, path in used)
    ]
    interpreter = "edge_agent/inference/tflite.py"  # imports one or the other, by its name
    assert unused == [("ai_edge_litert", interpreter), ("tflite_runtime", interpreter)]


def test_every_module_is_known_to_the_architecture() -> None:
    here = {path.stem if path.is_file() else path.name for path in (ROOT / "edge_agent").iterdir()}
    assert here - {"__init__", "__main__", "__pycache__"} == set(DEVICE)


def test_what_makes_a_folder_a_package_says_so_and_does_nothing() -> None:
    """Else importing a light module would load its heavy neighbors."""
    for package in PACKAGES:
        for file in (ROOT / package).rglob("__init__.py"):
            rest = [node for node in ast.parse(file.read_text(encoding="utf-8")).body if not _is_inert(node)]
            assert rest == [], f"{file}: {ast.unparse(rest[0])}"


@pytest.mark.parametrize(
    ("file", "statement", "wrong"),
    [
        ("edge_agent/update/store.py", "from edge_agent.link.mqtt import Link", True),
        ("edge_agent/update/store.py", "from edge_agent import link", True),
        ("edge_agent/update/store.py", "import edge_agent.link.mqtt", True),
        ("edge_agent/update/store.py", "from ..link import mqtt", True),
        ("edge_agent/update/store.py", "from .. import link", True),
        ("edge_agent/update/store.py", "def f() -> None:\n    import edge_agent.link", True),
        ("edge_agent/update/store.py", "if TYPE_CHECKING:\n    from edge_agent.link import mqtt", True),
        ("edge_agent/update/__init__.py", "from ..link import mqtt", True),
        ("edge_agent/update/__init__.py", "from . import store", False),
        ("edge_agent/__init__.py", "from edge_agent.service import compose", True),
        ("edge_agent/__init__.py", "from . import errors", True),
        ("edge_agent/errors.py", "import edge_agent.schema", True),
        ("edge_agent/release/trust.py", "from converter import publish", True),
        ("converter/convert.py", "from edge_agent.update import machine", True),
        ("converter/convert.py", "from edge_agent.inference import worker", True),
        ("converter/convert.py", "import edge_agent.inference.worker", True),
        ("converter/convert.py", "from edge_agent import update", True),
        ("converter/convert.py", "from edge_agent.inference import model", False),
        ("converter/convert.py", "from edge_agent import __version__", False),
        ("edge_agent/update/store.py", "from edge_agent.update import machine", False),
        ("edge_agent/update/store.py", "from . import machine", False),
        ("edge_agent/update/store.py", "import paho.mqtt.client", True),
        ("edge_agent/update/store.py", "import requests", True),
        ("edge_agent/update/store.py", "import importlib", True),
        ("edge_agent/update/store.py", "import json, numpy", False),
        ("converter/publish/keys.py", "from tuf.api import metadata", False),
        ("converter/convert.py", "from tuf.api import metadata", True),
    ],
)
def test_a_wrong_import_is_seen_however_it_is_written(file: str, statement: str, wrong: bool) -> None:  # noqa: FBT001
    found = list(_imports_of(file, statement))
    assert bool([*_wrong_directions(found), *_wrong_places(found)]) is wrong


def test_the_document_tells_of_these_directions() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    told = re.search(r"^    (errors · .*?)\n\n", text, re.MULTILINE | re.DOTALL)
    assert told is not None
    assert tuple(re.findall(r"\w+", told[1])) == DEVICE
    shared = re.search(r"^The converter imports .*?: (.*?)\. The device owns", text, re.MULTILINE | re.DOTALL)
    assert shared is not None
    assert tuple(re.findall(r"`([\w.]+)`", shared[1])) == SHARED_WITH_LAPTOP


def test_the_document_names_modules_that_there_are() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = re.findall(r"`([\w/]+\.py)`", text)
    assert [name for name in named if not any((ROOT / base / name).exists() for base in (".", "edge_agent"))] == []
    assert ("link/connection.py" in named, "inference/tflite.py" in named) == (True, True)


def test_every_dependency_is_imported_somewhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = {"pillow": "PIL", "paho_mqtt": "paho", "scikit_learn": "sklearn", "pyserial": "serial"}
    extras = [lines for extra, lines in project["optional-dependencies"].items() if extra != "dev"]
    listed = [line for lines in (project["dependencies"], *extras) for line in lines]
    distributions = {re.split(r"[^\w-]", line)[0].replace("-", "_").lower() for line in listed} - {"edge_deploy"}
    text = "\n".join(
        file.read_text(encoding="utf-8") for folder in (*PACKAGES, "examples") for file in (ROOT / folder).rglob("*.py")
    )
    modules = {name: named.get(name, name) for name in distributions}
    assert [name for name, module in modules.items() if not re.search(rf"(import|from|\") *{module}\b", text)] == []


def _wrong_directions(imports: "list[Import] | Iterator[Import]") -> Iterator[str]:
    for path, name, line in imports:
        package, _, rest = name.partition(".")
        if package not in PACKAGES or not rest:
            continue
        mine = path.removesuffix(".py").split("/")
        theirs = rest.split(".")[0]
        if mine[0] == "converter":
            wrong = package == "edge_agent" and not _is_shared(rest)
        elif mine[1] == "__init__":
            wrong = True
        else:
            wrong = package == "converter" or (theirs in DEVICE and DEVICE.index(theirs) > DEVICE.index(mine[1]))
        if wrong:
            yield f"{path}:{line} must not import {name}"


def _is_shared(rest: str) -> bool:
    if rest in ("__version__", "inference", "link"):  # the package itself, in `from package import module`
        return True
    return any(rest == shared or rest.startswith(f"{shared}.") for shared in SHARED_WITH_LAPTOP)


def _wrong_places(imports: "list[Import] | Iterator[Import]") -> Iterator[str]:
    for path, name, line in imports:
        library = name.split(".")[0]
        places = ONLY_IN.get(library)
        if places is None:
            wrong = library not in EVERYWHERE and library not in PACKAGES and library not in sys.stdlib_module_names
        else:
            wrong = not any(path == place or (place.endswith("/") and path.startswith(place)) for place in places)
        if wrong:
            yield f"{path}:{line} imports {name}"


def _is_inert(node: ast.stmt) -> bool:
    """A docstring, or `__version__ = "..."`."""
    value = node.value if isinstance(node, ast.Expr | ast.Assign) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def _imports() -> Iterator[Import]:
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            yield from _imports_of(file.relative_to(ROOT).as_posix(), file.read_text(encoding="utf-8"))


def _imports_of(path: str, text: str) -> Iterator[Import]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield path, alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            # `from ..link import mqtt`: as many of the last parts of the path go as there are dots.
            base = path.split("/")[: -node.level] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            if node.module:
                yield path, module, node.lineno
            for alias in node.names:
                yield path, f"{module}.{alias.name}", node.lineno
