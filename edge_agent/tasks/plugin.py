"""Tasks of other distributions: an entry point of the group `edge_deploy.tasks` (`docs/plugins.md`).

The manifest chooses among what is installed on the device; it cannot bring code. What a plugin does wrong is told as
the fault of the release that wants it, which is then rolled back like any other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from edge_agent import plugins
from edge_agent.errors import ModelError, Reason
from edge_agent.release.outputs import OutputSpec
from edge_agent.tasks.prediction import Prediction
from edge_agent.transform.prepared import Prepared
from edge_agent.transform.tensor import Array, TensorSpec

GROUP = "edge_deploy.tasks"
# What a decoder that meets other outputs than it expects most likely raises.
_FAULTS = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


class _Decodes(Protocol):
    """`decoder.Decoder`, which cannot be imported from here."""

    def decode(self, outputs: Sequence[Array], prepared: Prepared) -> list[Prediction]: ...


@dataclass(frozen=True, slots=True)
class PluginDecoder:
    """What the plugin built, held to what a decoder promises."""

    name: str
    inner: _Decodes

    @classmethod
    def build(
        cls, spec: OutputSpec, outputs: tuple[TensorSpec, ...], labels: tuple[str, ...], inputs: tuple[TensorSpec, ...]
    ) -> "PluginDecoder":
        """Load the plugin and let it build its decoder.

        Raises:
            ModelError: INCOMPATIBLE, it is not installed or does not take this model; or what it raises itself.
        """
        name = spec.plugin
        if name is None:
            there = ", ".join(plugins.installed(GROUP)) or "none"
            raise ModelError(
                "task plugin needs output.plugin, the name of the plugin",
                reason=Reason.INCOMPATIBLE,
                hint=f"an entry point of the group {GROUP}; installed: {there}",
            )
        try:
            built = plugins.load(GROUP, name)(spec, outputs, labels, inputs)
        except plugins.PluginError as error:
            raise ModelError(str(error), reason=Reason.INCOMPATIBLE, hint=error.hint) from error
        except _FAULTS as error:
            raise ModelError(
                f"the plugin {name} does not take this model: {type(error).__name__}: {error}",
                reason=Reason.INCOMPATIBLE,
            ) from error
        if not callable(getattr(built, "decode", None)):
            raise ModelError(
                f"the plugin {name} gave a {type(built).__name__}, which has no decode()",
                reason=Reason.INCOMPATIBLE,
                hint="docs/plugins.md says what a task gives",
            )
        return cls(name, built)

    def decode(self, outputs: Sequence[Array], prepared: Prepared) -> list[Prediction]:
        """What the plugin says.

        Raises:
            ModelError: it failed, or gave anything but a list of predictions.
        """
        try:
            found = self.inner.decode(outputs, prepared)
        except _FAULTS as error:
            raise ModelError(
                f"the plugin {self.name} failed: {type(error).__name__}: {error}", reason=Reason.TRIAL_ERRORS
            ) from error
        if not isinstance(found, list) or not all(isinstance(each, Prediction) for each in found):
            raise ModelError(
                f"the plugin {self.name} gave no list of predictions but {found!r:.80}", reason=Reason.TRIAL_ERRORS
            )
        return found
