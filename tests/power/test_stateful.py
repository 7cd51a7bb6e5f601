"""The real updater, store and journal on a simulated disk, with everything that may happen in an order of chance.

What the pure exploration (`tests/model`) shows of the machine, this shows of the code around it: whatever came before,
once nothing fails any more, the newest desired release that is not refused is committed and serves, and nothing else is
left on the disk. Times are a fake clock's; nothing here waits.
"""

from contextlib import suppress
from dataclasses import replace
from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from edge_agent.errors import InputError, Reason
from edge_agent.update.machine import Idle, Trial
from tests.power.exploration import problems_on_disk
from tests.sim.device import SimDevice
from tests.sim.disk import PowerCut, Survival
from tests.sim.releases import SimRelease, SimTransport, make_release, noise

RELEASES = {
    version: make_release(version, noise(60_000, "shared") + noise(50_000 + 7_000 * place, version))
    for place, version in enumerate("123")
}
_SICKNESSES = ("unloadable", "crashing", "crashing_later", "erring")
TARGETS = {version: replace(release.target, downgrade=True) for version, release in RELEASES.items()}
_VERSIONS = st.sampled_from(sorted(RELEASES))
_LONG_S, _STEPS = 301.0, 4  # more than the longest back-off, a few times


class Device(RuleBasedStateMachine):
    """One device's life."""

    @initialize()
    def begin(self) -> None:
        self.device = SimDevice(SimTransport(*RELEASES.values())).boot()
        self.desired: SimRelease | None = None

    # --- the fleet and the operator ---

    @rule(version=_VERSIONS)
    def desire(self, version: str) -> None:
        self.desired = RELEASES[version]
        self.device.run(TARGETS[version])

    @rule()
    def operator(self) -> None:
        request = self.device.updater.roll_back()
        self.device.run()
        if request.done():
            with suppress(InputError):  # there is nothing to go back to
                request.result(timeout=0)

    @rule(seconds=st.integers(1, 60))
    def time_goes_by(self, seconds: int) -> None:
        self.device.run_for(seconds)

    # --- what fails ---

    @rule(version=_VERSIONS, sickness=st.sampled_from(_SICKNESSES))
    def fall_sick(self, version: str, sickness: str) -> None:
        """A model that was good goes wrong: a driver or the memory it shares."""
        self.device.sick.setdefault(sickness, set()).add(RELEASES[version].digest)
        getattr(self.device.server, sickness).add(RELEASES[version].digest)

    @rule(version=_VERSIONS)
    def fail_probes(self, version: str) -> None:
        self.device.unproven.add(RELEASES[version].digest)

    @rule()
    def heal(self) -> None:
        self._heal()

    @rule(chunks=st.integers(0, 4))
    def break_link(self, chunks: int) -> None:
        self.device.transport.breaks_after = chunks

    @precondition(lambda self: self.device.server.running)
    @rule()
    def lose_worker(self) -> None:
        self.device.server.serving, self.device.server.running, self.device.server.lost = None, False, True
        self.device.run()

    @rule(version=_VERSIONS, survival=st.sampled_from(list(Survival)), operation=st.integers(1, 40), seed=st.integers())
    def lose_power(self, version: str, survival: Survival, operation: int, seed: int) -> None:
        """While it is given something to do."""
        self.desired = RELEASES[version]
        self.device.disk.operations = 0
        self.device.disk.cut_before = operation
        with suppress(PowerCut):
            self.device.run(TARGETS[version])
        self.device.disk.cut_before = None
        self.device.lose_power(survival, Random(seed))
        self._boot()

    @rule()
    def lose_process(self) -> None:
        self.device.lose_process()
        self._boot()

    # --- what must hold ---

    @invariant()
    def the_record_names_only_what_is_whole(self) -> None:
        assert list(problems_on_disk(self.device.disk)) == []

    @invariant()
    def what_serves_is_what_is_to_serve(self) -> None:
        record, serving = self.device.record, self.device.server.serving
        assert serving is None or serving in (record.current, record.candidate)
        if isinstance(record.phase, Trial) and serving == record.phase.digest:
            assert record.phase.starts > 0

    def teardown(self) -> None:
        """Nothing fails any more: the device must come to rest with what is desired."""
        self._heal()
        self._boot()
        for _ in range(_STEPS):
            self.device.clock.advance(_LONG_S)
            self.device.run()
        record, desired = self.device.record, self.desired
        assert list(problems_on_disk(self.device.disk)) == []
        assert isinstance(record.phase, Idle)
        assert self.device.server.serving == record.current
        if desired is not None and not record.refuses(desired.digest):
            assert record.current == desired.digest
        known = {record.current, record.previous} - {None}
        assert {name for name in self.device.files() if name.startswith("releases/") and name.count("/") == 1} == {
            f"releases/{digest}" for digest in known
        }
        assert [name for name in self.device.files() if name.startswith("staging/")] == []
        for rejection in record.rejected:
            assert rejection.reason is not Reason.ROTTEN

    # --- how ---

    def _boot(self) -> None:
        self.device.boot()
        self.device.run()

    def _heal(self) -> None:
        self.device.sick.clear()
        self.device.unproven.clear()
        for sickness in _SICKNESSES:
            getattr(self.device.server, sickness).clear()
        self.device.transport.breaks_after = None


TestDevice = Device.TestCase
TestDevice.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
