"""How a candidate is proved on this device: the probe, in shadow beside what serves, then on trial in front of it.

What follows from it for the record is left to `updater`.
"""

from collections.abc import Callable

from edge_agent.update.parts import Parts
from edge_agent.update.probe import ProbeReport
from edge_agent.update.serving import Serving
from edge_agent.update.shadow import judge_shadow, lacks_memory, run_shadow
from edge_agent.update.trial import Passed, TrialWatch, Verdict
from edge_agent.update.watch import watch_trial

Urgent = Callable[[], bool]  # whether something has come up that matters more than going on


class Proof:
    """Of one stage's candidates, one after the other."""

    def __init__(self, parts: Parts, serving: Serving) -> None:
        self._parts = parts
        self._serving = serving
        self._shadowed = ""  # what there is to say of the candidate's shadow
        self.probed: ProbeReport | None = None

    def before_trial(self, digest: str, current: str | None, is_urgent: Urgent) -> bool:
        """Probe it, and compare it with `current`, which serves; not to the end, when something else is urgent.

        Raises:
            RejectionError: it has failed.
            StorageError, WorkerCrashedError: not now.
        """
        store = self._parts.store
        self.probed = self._parts.probe(store.directory(digest), store.manifest(digest))
        return self._shadow(digest, current, self.probed, is_urgent)

    def on_trial(self, digest: str, current: str | None, is_urgent: Urgent) -> Verdict:
        """Serve it, and watch it until there is a verdict.

        Raises:
            RejectionError: it cannot be loaded.
            StorageError, WorkerCrashedError: what serves has ended, or cannot be read.
        """
        limits = self._parts.store.manifest(digest).limits
        trial = TrialWatch(digest, limits, self._serving.of_current(current))
        self._serving.serve(digest)
        verdict = watch_trial(self._parts.server, trial, cancelled=is_urgent, clock=self._parts.clock)
        if isinstance(verdict, Passed):
            return Passed("; ".join(part for part in (verdict.detail, self._shadowed) if part))
        return verdict

    def _shadow(self, digest: str, current: str | None, probed: ProbeReport, is_urgent: Urgent) -> bool:
        """Compare the candidate with what serves, where the device does that; not, when something else is urgent."""
        plan, store, self._shadowed = self._parts.shadow, self._parts.store, ""
        if plan is None or current is None:
            return True
        lacking = lacks_memory(probed.memory_bytes, plan)
        if lacking is not None:
            self._shadowed = lacking
            return True
        said = run_shadow(
            self._parts.server,
            digest,
            store.directory(digest),
            plan,
            cancelled=is_urgent,
            clock=self._parts.clock,
        )
        if is_urgent() and not said.over:
            return False
        self._shadowed = judge_shadow(said, store.manifest(digest).limits)
        return True
