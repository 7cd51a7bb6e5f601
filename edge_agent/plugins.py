"""What other distributions add to the agent: entry points, by group and name.

Sources, tasks and sinks of one's own are callables that an installed distribution names in its metadata
(https://packaging.python.org/en/latest/specifications/entry-points/). A manifest or a configuration can only choose
among what is installed on this device; neither can bring code. What a callable of which group is called with, and what
it must give, is left to whoever calls it (`docs/plugins.md`).
"""

from collections.abc import Callable
from typing import Any

from edge_agent.errors import PluginError

__all__ = ["PluginError", "installed", "load"]

# What a module raises while it is imported where something that it needs is not as it expects.
_IMPORT_ERRORS = (
    ImportError, AttributeError, NameError, SyntaxError, TypeError, ValueError, LookupError, RuntimeError, OSError,
)  # fmt: skip


def load(group: str, name: str) -> Callable[..., Any]:
    """The callable that an entry point names; its module is imported here.

    Raises:
        PluginError: no or several distributions name it, it cannot be imported, or it cannot be called.
    """
    from importlib import metadata  # 1 MB of modules that a device without plugins does not need

    found = list(metadata.entry_points(group=group, name=name))
    if not found:
        names = ", ".join(installed(group)) or "none"
        raise PluginError(
            f"there is no plugin {name} of the group {group} here; installed: {names}",
            hint=f"pip install the distribution that has it as an entry point of {group}, into the agent's environment",
        )
    if len({point.value for point in found}) > 1:
        owners = ", ".join(sorted(f"{point.dist.name if point.dist else '?'} ({point.value})" for point in found))
        raise PluginError(f"several distributions name a plugin {name} of {group}: {owners}", hint="uninstall one")
    target = found[0].value
    try:
        loaded: Callable[..., Any] = found[0].load()
    except _IMPORT_ERRORS as error:
        raise PluginError(
            f"the plugin {name} of {group} ({target}) cannot be imported: {type(error).__name__}: {error}",
            hint="see that what it needs is installed in the agent's environment, in versions it knows",
        ) from error
    if not callable(loaded):
        raise PluginError(
            f"the plugin {name} of {group} ({target}) is of type {type(loaded).__name__}, and cannot be called",
            hint="an entry point names a function or a class, MODULE:NAME",
        )
    return loaded


def installed(group: str) -> tuple[str, ...]:
    """The names of a group, sorted. Nothing is imported."""
    from importlib import metadata

    return tuple(sorted(metadata.entry_points(group=group).names))
