"""Records as earlier agents wrote them. `tests/update/records/` holds some that one really has written."""

import hashlib
import json
from typing import Any

from edge_agent import schema
from edge_agent.update.machine import Record


def format_schema_1(record: Record, *, lifted: int = 0) -> bytes:
    """What an agent of schema 1 wrote for `record`; it knew one number of orders for all topics."""
    return format_tree({"schema": 1, **schema.dump(record), "lifted": lifted})


def format_tree(tree: dict[str, Any]) -> bytes:
    """Any record, whole."""
    canonical = json.dumps(tree, sort_keys=True, separators=(",", ":")).encode()
    return json.dumps({"sha256": hashlib.sha256(canonical).hexdigest(), "record": tree}, indent=1).encode() + b"\n"
