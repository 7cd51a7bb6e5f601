"""Every topic of the wire protocol (docs/mqtt-interface.md), made in one place."""

from dataclasses import dataclass

MAX_FILTERS = 8  # per SUBSCRIBE, what AWS IoT Core takes


@dataclass(frozen=True, slots=True)
class Topics:
    """Topics under one prefix. Identifiers are checked where they come from (config, manifest)."""

    prefix: str = "edge/v1"

    def release(self, model: str, channel: str) -> str:
        """Retained release document of a channel."""
        return f"{self.prefix}/release/{model}/{channel}"

    def blob(self, digest: str) -> str:
        """Retained chunk, by the sha-256 of its plaintext."""
        return f"{self.prefix}/blob/{digest}"

    def catalog(self) -> str:
        """Retained: which releases were ever pushed, for whoever collects what none refers to any more."""
        return f"{self.prefix}/catalog"

    def availability(self, device: str) -> str:
        return f"{self.prefix}/device/{device}/availability"

    def reported(self, device: str) -> str:
        return f"{self.prefix}/device/{device}/reported"

    def telemetry(self, device: str) -> str:
        return f"{self.prefix}/device/{device}/telemetry"

    def event(self, device: str) -> str:
        return f"{self.prefix}/device/{device}/event"

    def bench(self, device: str) -> str:
        """How a release that was only to be measured did."""
        return f"{self.prefix}/device/{device}/bench"

    def result(self, device: str, pipeline: str) -> str:
        return f"{self.prefix}/device/{device}/result/{pipeline}"

    def trigger(self, device: str, name: str) -> str:
        return f"{self.prefix}/device/{device}/trigger/{name}"

    def sample(self, device: str) -> str:
        """What a model was given, in answer to an `ask`."""
        return f"{self.prefix}/device/{device}/sample"

    def ask(self, device: str) -> str:
        """Somebody wants samples; heard by devices whose own configuration says that they publish them."""
        return f"{self.prefix}/device/{device}/ask"

    def echo(self, device: str) -> str:
        """The device's own barrier; a publisher uses it with an id of its own."""
        return f"{self.prefix}/device/{device}/echo"

    def need(self, device: str) -> str:
        return f"{self.prefix}/device/{device}/need"

    def ack(self, device: str) -> str:
        return f"{self.prefix}/device/{device}/ack"

    def device_of(self, topic: str) -> tuple[str, str] | None:
        """Device id and what follows it, of a topic under `device/`; None for any other topic."""
        start = f"{self.prefix}/device/"
        device, slash, rest = topic.removeprefix(start).partition("/")
        return (device, rest) if topic.startswith(start) and slash else None
