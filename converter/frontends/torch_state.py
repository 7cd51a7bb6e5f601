"""The state that a TorchScript module keeps in its attributes, made inputs and outputs, which a device feeds back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from converter.errors import ConversionError
from converter.frontends.sizes import Declared

_RUNS = 2  # the first run gives a state its size, the second finds it prepared


@dataclass(frozen=True, slots=True)
class State:
    """Tensors in attributes of a module, or of modules within, that its runs replace."""

    places: tuple[tuple[Any, str], ...]  # the module and its attribute
    declared: tuple[Declared, ...]

    @classmethod
    def find(cls, module: Any, run: Callable[[], Sequence[Any]]) -> "State":
        """What the program assigns to, in the size that it has after some runs.

        Raises:
            ConversionError: a state whose size changes from run to run, or that is changed in place.
        """
        import torch

        for _ in range(_RUNS):
            run()
        places = tuple(_assigned(module))
        before = [getattr(owner, name) for owner, name in places]
        told = run()
        declared: list[Declared] = []
        for (owner, name), old in zip(places, before, strict=True):
            new = getattr(owner, name)
            if new.shape != old.shape:
                raise ConversionError(
                    f"its state {name} changes its size with each run ({list(old.shape)}, {list(new.shape)})",
                    hint="let the module take and give its state as tensors of one size",
                )
            called = name.lstrip("_") or name
            called = called if "state" in called else f"state_{called}"  # by which a device knows what to feed back
            several = sum(end.name.rstrip("0123456789_") == called for end in declared)
            dtype = np.dtype(str(new.dtype).removeprefix("torch."))
            declared.append(Declared(f"{called}_{several}" if several else called, tuple(new.shape), dtype))
        state = cls(places, tuple(declared))
        state.set(before)
        if not all(torch.equal(one, other) for one, other in zip(told, run(), strict=True)):
            raise ConversionError(
                "it answers otherwise each time: it keeps a state that it changes in place, or is random",
                hint="assign the new state to the attribute (self.state = new), or give it as an output",
            )
        return state

    def set(self, values: Sequence[Any]) -> None:
        for (owner, name), value in zip(self.places, values, strict=True):
            setattr(owner, name, value)

    def get(self) -> tuple[Any, ...]:
        return tuple(getattr(owner, name) for owner, name in self.places)


def _assigned(module: Any) -> list[tuple[Any, str]]:
    """The attributes with tensors that its program assigns to, each once."""
    import torch

    found: dict[tuple[str, ...], tuple[Any, str]] = {}
    graph = module.inlined_graph  # its nodes live as long as it does
    for node in graph.findAllNodes("prim::SetAttr"):
        path: list[str] = []
        above = next(iter(node.inputs())).node()
        while above.kind() == "prim::GetAttr":
            path.insert(0, above.s("name"))
            above = next(iter(above.inputs())).node()
        owner = module
        for step in path:
            owner = getattr(owner, step)
        if torch.is_tensor(getattr(owner, node.s("name"), None)):
            found[(*path, node.s("name"))] = (owner, node.s("name"))
    return list(found.values())
