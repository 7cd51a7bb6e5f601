"""A release measured on a real device that is enrolled: asked by a signed document, answered over the same broker.

The document stands on the bench channel of the release's model and names one device, which fetches and proves the
release as it would any other, says how it did, and forgets it (`edge_agent.update.benching`). Nothing is left behind
but chunks, which `edgectl gc` collects.
"""

from collections.abc import Callable

from converter.broker import Broker
from converter.errors import ConversionError
from converter.publish.keys import Keys
from converter.publish.push import push
from converter.publish.sending import Progress
from edge_agent.clock import SystemClock
from edge_agent.config.update import BENCH_CHANNEL
from edge_agent.errors import LinkError
from edge_agent.link.messages import (
    BenchReport,
    MessageError,
    Reported,
    parse_availability,
    parse_bench,
    parse_reported,
)
from edge_agent.release.archive import Artifact
from edge_agent.release.rollout import Rollout

ANSWER_S = 600.0  # to wait for an update that is under way, fetch, and prove


def bench_on_device(
    artifact: Artifact,
    device: str,
    keys: Keys,
    connect: Callable[[], Broker],
    *,
    progress: Progress,
    timeout_s: float = ANSWER_S,
) -> BenchReport:
    """How `artifact` does on `device`; blocks until it has answered.

    Raises:
        LinkError: the broker cannot be reached, or the device is not there, serves no such model, or does not answer.
        TrustError, PublishError: as `push`.
    """
    manifest = artifact.manifest
    with connect() as listener:
        check_serves(listener, device, manifest.name)
        topic = listener.topics.release(manifest.name, BENCH_CHANNEL)
        listener.listen([listener.topics.bench(device)])
        _clear(listener, topic)  # what a command that was killed has left
        try:
            push(
                artifact,
                BENCH_CHANNEL,
                keys,
                connect,
                progress=progress,
                rollout=Rollout(percent=0, canary_devices=(device,)),
            )
            return _answer(listener, device, artifact.digest, timeout_s)
        finally:
            _clear(listener, topic)


def check_serves(broker: Broker, device: str, model: str) -> None:
    """Raise LinkError unless this device is online and a stage of it serves `model`."""
    topics = [broker.topics.availability(device), broker.topics.reported(device)]
    said = broker.retained(topics)
    if topics[1] not in said:
        raise LinkError(
            f"there is no device {device!r} on {broker.settings.url}", hint="'edgectl devices' lists those there are"
        )
    try:
        online, reported = parse_availability(said.get(topics[0], b"")), parse_reported(said[topics[1]])
    except MessageError as error:
        raise LinkError(f"what device {device!r} has reported cannot be read: {error}") from error
    if not online:
        raise LinkError(f"device {device!r} is offline", hint="it can only measure while it is connected")
    models = _models(reported)
    if model not in models:
        raise LinkError(
            f"device {device!r} serves no model {model!r}; it serves {', '.join(sorted(models)) or 'none'}",
            hint="a device measures releases of models that it serves: call the artifact after one of them",
        )


def _models(reported: Reported) -> set[str]:
    return {stage.model for stages in reported.pipelines.values() for stage in stages.values()}


def _answer(listener: Broker, device: str, digest: str, timeout_s: float) -> BenchReport:
    clock = SystemClock()
    until_s = clock.monotonic_s() + timeout_s
    while (event := listener.next_event(until_s - clock.monotonic_s())) is not None:
        if event.topic != listener.topics.bench(device):
            continue
        try:
            report = parse_bench(event.payload)
        except MessageError:
            continue
        if report.digest == digest:
            return report
    raise LinkError(
        f"device {device!r} has not answered within {timeout_s:.0f} s",
        hint="look at its events with 'edgectl watch'; its agent may be older, or have [update] bench = false",
    )


def _clear(broker: Broker, topic: str) -> None:
    broker.publish_retained(topic, b"")


def latency_ms(report: BenchReport, device: str) -> float:
    """The median invoke time that a device has measured.

    Raises:
        ConversionError: it has measured none.
    """
    if report.measured is None:
        raise ConversionError(f"{device} could not measure the model: {report.detail}", hint=report.hint)
    return report.measured.p50_ms
