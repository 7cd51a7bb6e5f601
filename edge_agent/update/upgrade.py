"""Records of earlier schemas, made into today's: one pure function for each step from a schema to the next.

A function is never changed once an agent that writes the next schema has been released: devices skip versions, and go
through all the steps between. Reading and writing are left to `journal`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from edge_agent.update.machine import ANY_TOPIC

Tree = Mapping[str, Any]


def _number_orders_by_topic(tree: Tree) -> Tree:
    """1 → 2. Orders to lift rejections are numbered by release topic, and schema 1 kept one number for all.

    Which topic its number came from it did not say: so it goes on standing for every topic that has none of its own.
    No order is carried out twice because of that, and none that schema 1 would have carried out is left out.
    """
    number = tree.get("lifted", 0)
    return {**tree, "lifted": [{"topic": ANY_TOPIC, "number": number}] if number else []}


STEPS: Mapping[int, Callable[[Tree], Tree]] = {1: _number_orders_by_topic}
SCHEMA = max(STEPS) + 1  # what this agent writes


def upgrade(tree: Tree) -> Tree:
    """The record of schema 1 to `SCHEMA` in `tree`, as today's schema says it. Of today's own it is the same."""
    while tree["schema"] in STEPS:
        tree = {**STEPS[tree["schema"]](tree), "schema": tree["schema"] + 1}
    return tree
