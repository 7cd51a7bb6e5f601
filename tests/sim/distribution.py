"""What `pip install` leaves behind: a module, and metadata with entry points."""

import sys
from collections.abc import Mapping
from pathlib import Path


def install(site: Path, name: str, group: str, entry_points: Mapping[str, str], module: str = "") -> None:
    """Put a distribution, with one module of the same name, into a folder on the import path."""
    known_as = name.replace("-", "_")
    sys.modules.pop(known_as, None)
    (site / f"{known_as}.py").write_text(module, encoding="utf-8")
    info = site / f"{known_as}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8")
    lines = [f"{point} = {target}" for point, target in entry_points.items()]
    (info / "entry_points.txt").write_text("\n".join([f"[{group}]", *lines, ""]), encoding="utf-8")
