"""Ten devices and more in this process: the real updater of each on a simulated disk, reporting to a real broker."""

from collections.abc import Iterable, Mapping

from converter.broker import Broker
from edge_agent.config.pipeline import StageConfig
from edge_agent.link.messages import OFFLINE, ONLINE, format_reported
from edge_agent.release.document import Target
from edge_agent.service.reporting import StageName, reported, stage_report
from edge_agent.telemetry.resources import Hardware
from edge_agent.update.eligibility import Device
from tests.sim.device import SimDevice
from tests.sim.releases import SimRelease, SimTransport

_CONFIG = StageConfig("birds")
_HARDWARE = Hardware("aarch64", "Debian 12", 4, 4_000_000_000)


class SimFleet:
    """Devices by id, each with its labels, all following `birds` on `stable`."""

    def __init__(self, ids: Mapping[str, tuple[str, ...]] | Iterable[str], *releases: SimRelease) -> None:
        labels = ids if isinstance(ids, Mapping) else dict.fromkeys(ids, ())
        self.transport = SimTransport(*releases)
        self.devices = {
            name: SimDevice(self.transport, device=Device(name, labels[name])).boot() for name in sorted(labels)
        }
        self.offline: set[str] = set()

    def hear(self, target: Target) -> None:
        """Every device that is online hears its channel's word, and does what it makes of it."""
        for name, device in self.devices.items():
            if name not in self.offline:
                device.run(target)

    def report(self, broker: Broker) -> None:
        """What the devices retain on the broker."""
        for name, device in self.devices.items():
            broker.publish_retained(broker.topics.availability(name), OFFLINE if name in self.offline else ONLINE)
            broker.publish_retained(broker.topics.reported(name), self._reported(device))

    def serving(self) -> dict[str, str | None]:
        """Version by device id."""
        return {name: device.status.versions.get(device.server.serving or "") for name, device in self.devices.items()}

    def _reported(self, device: SimDevice) -> bytes:
        stages = {StageName("porch", "main"): stage_report(_CONFIG, device.status)}
        message = reported(
            hardware=_HARDWARE, library=None, labels=device.device.labels, stages=stages, at_s=device.clock.now_s()
        )
        return format_reported(message)
