"""Chunks from web servers that behave, lie, stall, cut off and never end; and from the broker what they lack."""

import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_agent.clock import SystemClock
from edge_agent.errors import FetchError, Reason
from edge_agent.link import https
from edge_agent.link.https import HttpsSource
from edge_agent.link.pace import Pace
from edge_agent.link.transports import PATIENCE_S, REST_S, AlternatingTransport, Transports
from edge_agent.release.chunks import CHUNK_BYTES, MAX_PAYLOAD_BYTES, digest_of_chunk, pack
from tests.link.test_device import Device, other_client
from tests.sim.broker import run_mosquitto
from tests.sim.certificates import make_authority
from tests.sim.clock import FakeClock
from tests.sim.releases import SimTransport, make_release, noise
from tests.sim.web import Answer, Request, Web, run_web

CHUNKS = {digest_of_chunk(chunk): chunk for chunk in (noise(CHUNK_BYTES, str(number)) for number in range(12))}
FIRST = next(iter(CHUNKS))


class Server:
    """A web server with chunks, over TLS; `ca` is whom to believe."""

    def __init__(self, web: Web, ca: Path) -> None:
        self.web = web
        self.ca = ca

    def hold(self, chunks: dict[str, bytes], path: str = "/blobs") -> None:
        for digest, plaintext in chunks.items():
            self.web.answers[f"{path}/{digest}"] = _giving(pack(plaintext))

    def answer(self, digest: str, answer: Answer) -> None:
        self.web.answers[f"/blobs/{digest}"] = answer

    def hold_directory(self, directory: Path) -> None:
        """Serve files as they are now."""
        for path in directory.iterdir():
            self.answer(path.name, _giving(path.read_bytes()))

    @property
    def base(self) -> str:
        return self.web.url("/blobs", "https")

    def source(self, *, pace: Pace | None = None, base: str | None = None) -> HttpsSource:
        clock = SystemClock()
        return HttpsSource(base or self.base, pace or Pace(clock), clock, ca_file=self.ca)


def _giving(payload: bytes) -> Answer:
    return lambda request: request.say(200, payload)


@contextmanager
def serving(directory: Path) -> Iterator[Server]:
    authority = make_authority(directory, "ca")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("server", address="127.0.0.1"))
    with run_web(Web(), context) as web:
        yield Server(web, authority.file)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path) as running:
        yield running


def collect(source: HttpsSource, taken: dict[str, bytes] | None = None) -> dict[str, bytes]:
    taken = {} if taken is None else taken
    source.collect(tuple(CHUNKS), taken.__setitem__, cancelled=lambda: False, trouble=None)
    return taken


def failing(source: HttpsSource) -> tuple[dict[str, bytes], FetchError]:
    """What was taken, and why it has ended."""
    taken: dict[str, bytes] = {}
    with pytest.raises(FetchError) as caught:
        collect(source, taken)
    assert caught.value.hint
    return taken, caught.value


def test_every_chunk_comes_over_a_few_connections_that_are_kept(server: Server) -> None:
    server.hold(CHUNKS)

    assert collect(server.source()) == CHUNKS
    assert sorted(path for path, _ in server.web.asked) == sorted(f"/blobs/{digest}" for digest in CHUNKS)


def test_a_server_that_is_not_trusted_is_told_nothing(server: Server) -> None:
    server.hold(CHUNKS)
    server.ca = Path(ssl.get_default_verify_paths().cafile or "/nonexistent")
    source = HttpsSource(server.base, Pace(SystemClock()), SystemClock())  # the system's authorities

    taken, error = failing(source)
    assert (taken, server.web.asked) == ({}, [])
    assert "not trusted" in str(error)


def test_a_server_with_another_name_is_not_trusted(server: Server) -> None:
    server.hold(CHUNKS)
    taken, error = failing(server.source(base=server.base.replace("127.0.0.1", "localhost")))

    assert (taken, server.web.asked) == ({}, [])
    assert "not trusted" in str(error)


def test_a_ca_file_that_is_none_is_said(server: Server, tmp_path: Path) -> None:
    server.ca = tmp_path / "missing.pem"

    assert "missing.pem cannot be used" in str(failing(server.source())[1])


def _endless(request: Request) -> None:
    request.begin("application/octet-stream")
    while True:
        request.wfile.write(bytes(10_000))


def _oversized(request: Request) -> None:
    request.send_response(200)
    request.send_header("Content-Length", str(1 << 40))
    request.end_headers()


def _cut_off(request: Request) -> None:
    payload = pack(CHUNKS[FIRST])
    request.send_response(200)
    request.send_header("Content-Length", str(len(payload)))
    request.end_headers()
    request.wfile.write(payload[:1000])
    request.close_connection = True


def _hang_up(request: Request) -> None:
    request.close_connection = True


def _endless_headers(request: Request) -> None:
    request.send_response(200)
    for number in range(10_000):
        request.send_header(f"X-{number}", "x")
    request.end_headers()


def _lie_about_status(request: Request) -> None:
    request.wfile.write(b"HTTP/1.1 hello\r\n\r\n")
    request.close_connection = True


def _to(location: str) -> Answer:
    return lambda request: request.say(302, Location=location)


BAD: dict[str, tuple[Answer, Reason]] = {
    "another chunk": (_giving(pack(b"another")), Reason.CORRUPT_CHUNK),
    "no zlib": (_giving(b"hello"), Reason.CORRUPT_CHUNK),
    "a zlib bomb": (_giving(pack(bytes(50_000_000))), Reason.CORRUPT_CHUNK),
    "nothing": (_giving(b""), Reason.CORRUPT_CHUNK),
    "an error page": (lambda request: request.say(500, b"oops"), Reason.MISSING_CHUNK),
    "a part": (lambda request: request.say(206, b"x"), Reason.MISSING_CHUNK),
    "endless data": (_endless, Reason.MISSING_CHUNK),
    "a terabyte": (_oversized, Reason.MISSING_CHUNK),
    "half of it": (_cut_off, Reason.MISSING_CHUNK),
    "a closed connection": (_hang_up, Reason.MISSING_CHUNK),
    "endless headers": (_endless_headers, Reason.MISSING_CHUNK),
    "no HTTP": (_lie_about_status, Reason.MISSING_CHUNK),
    "a redirect to plain http": (_to("http://127.0.0.1/x"), Reason.MISSING_CHUNK),
    "a redirect to a file": (_to("file:///etc/passwd"), Reason.MISSING_CHUNK),
    "a redirect to itself": (_to(f"/blobs/{FIRST}"), Reason.MISSING_CHUNK),
    "a redirect to nowhere": (lambda request: request.say(302), Reason.MISSING_CHUNK),
    "a redirect to no URL": (_to("https://[/"), Reason.MISSING_CHUNK),
    "a redirect to an odd port": (_to("https://127.0.0.1:999999/"), Reason.MISSING_CHUNK),
    "a redirect to an odd name": (_to("https://a..b/ x"), Reason.MISSING_CHUNK),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_a_bad_server_says_is_bounded_and_spoils_no_other_chunk(server: Server, kind: str) -> None:
    server.hold(CHUNKS)
    answer, reason = BAD[kind]
    server.answer(FIRST, answer)

    taken, error = failing(server.source())

    assert taken == {digest: chunk for digest, chunk in CHUNKS.items() if digest != FIRST}
    assert error.reason is reason


def test_redirects_within_https_are_followed(server: Server) -> None:
    server.hold(CHUNKS, "/elsewhere")
    for digest in CHUNKS:
        server.answer(digest, _to(f"/more/{digest}"))
        server.web.answers[f"/more/{digest}"] = _to(server.web.url(f"/elsewhere/{digest}", "https"))

    assert collect(server.source()) == CHUNKS


def test_a_redirect_to_plain_http_is_not_followed_though_it_would_lead_to_the_chunk(server: Server) -> None:
    server.hold(CHUNKS)
    server.hold(CHUNKS, "/elsewhere")
    server.answer(FIRST, _to(server.web.url(f"/elsewhere/{FIRST}", "http")))

    taken, error = failing(server.source())
    assert FIRST not in taken
    assert "which is not https" in str(error)


def test_a_server_with_nothing_is_given_up_after_a_few_requests(server: Server) -> None:
    many = tuple(f"{number:064x}" for number in range(200))
    with pytest.raises(FetchError, match="404"):
        server.source().collect(many, lambda *_: None, cancelled=lambda: False, trouble=None)

    at_hand = 2 * https.CONNECTIONS  # asked for or answered, while the failures are counted
    assert len(server.web.asked) <= https.MAX_FAILURES + at_hand


def test_a_connection_that_the_server_has_closed_meanwhile_is_made_anew(server: Server) -> None:
    def once(request: Request) -> None:
        request.say(200, pack(CHUNKS[request.path.rpartition("/")[2]]))
        request.close_connection = True  # without a word: the next request finds it closed

    for digest in CHUNKS:
        server.answer(digest, once)

    assert collect(server.source()) == CHUNKS


def test_a_server_that_stalls_is_given_up_by_the_clock_and_what_has_come_stays(server: Server) -> None:
    server.hold(CHUNKS)
    stalled, over = Event(), Event()

    def stall(request: Request) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "1000")
        request.end_headers()
        request.wfile.write(b"x")
        request.wfile.flush()
        stalled.set()
        over.wait(60)

    server.answer(FIRST, stall)
    clock = FakeClock()
    source = HttpsSource(server.base, Pace(clock), clock, ca_file=server.ca)
    taken: dict[str, bytes] = {}

    def time_flies() -> bool:
        if stalled.is_set() and len(taken) == len(CHUNKS) - 1:
            clock.advance(https.CHUNK_S + 1)
        return False

    with pytest.raises(FetchError, match="took more than 60 s"):
        source.collect(tuple(CHUNKS), taken.__setitem__, cancelled=time_flies, trouble=None)
    over.set()
    assert len(taken) == len(CHUNKS) - 1


def test_cancelling_ends_it_though_the_server_stalls(server: Server) -> None:
    stalled, over = Event(), Event()

    def stall(request: Request) -> None:
        stalled.set()
        over.wait(60)

    server.answer(FIRST, stall)
    server.source().collect([FIRST], lambda *_: None, cancelled=stalled.is_set, trouble=None)
    over.set()


def test_what_the_caller_raises_ends_it(server: Server) -> None:
    server.hold(CHUNKS)

    def refuse(digest: str, content: bytes) -> None:
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        server.source().collect(tuple(CHUNKS), refuse, cancelled=lambda: False, trouble=None)


def test_a_cap_holds_here_too(server: Server) -> None:
    server.hold(CHUNKS)
    clock = FakeClock()
    taken: dict[str, bytes] = {}
    allowed = 2

    def go_on() -> bool:
        nonlocal allowed
        assert len(server.web.asked) <= allowed
        if len(taken) == allowed:
            allowed += 2
            clock.advance(1.0)
        return False

    source = server.source(pace=Pace(clock, 2 * MAX_PAYLOAD_BYTES))
    source.collect(tuple(CHUNKS), taken.__setitem__, cancelled=go_on, trouble=None)
    assert taken == CHUNKS


_HEADS = st.sampled_from(
    [
        b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 302 Found\r\nLocation: ", b"HTTP/1.1 200 OK\r\nContent-Length: ",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"HTTP/1.0 200\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
    ]
)  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.tuples(_HEADS, st.binary(max_size=60)).map(b"".join))
def test_no_answer_breaks_out_of_fetch_error(server: Server, content: bytes) -> None:
    def answer(request: Request) -> None:
        request.wfile.write(content)
        request.close_connection = True

    server.answer(FIRST, answer)
    taken: dict[str, bytes] = {}
    with pytest.raises(FetchError):
        server.source().collect([FIRST], taken.__setitem__, cancelled=lambda: False, trouble=None)
    assert taken == {}


def test_a_server_that_dies_in_the_middle_is_replaced_by_a_real_broker(server: Server, tmp_path: Path) -> None:
    def die(request: Request) -> None:
        if len(server.web.asked) > 5:
            request.close_connection = True
        else:
            request.say(200, pack(CHUNKS[request.path.rpartition("/")[2]]))

    for digest in CHUNKS:
        server.answer(digest, die)
    with run_mosquitto(tmp_path) as broker, other_client(broker.settings) as other:
        other.publish_chunks(CHUNKS)
        device = Device(broker.settings)
        with device.link:
            taken, _ = run(AlternatingTransport([server.source()], device.link, SystemClock()))
    assert taken == CHUNKS


# --- and back ---------------------------------------------------------------------------------------------------------


class FakeSource:
    """Gives what it has, and fails for the rest."""

    def __init__(self, chunks: dict[str, bytes], base: str = "https://sim") -> None:
        self.base = base
        self.chunks = chunks
        self.asked: list[tuple[str, ...]] = []

    def collect(
        self,
        digests: Sequence[str],
        take: Callable[[str, bytes], None],
        *,
        cancelled: Callable[[], bool],
        trouble: object,
    ) -> None:
        self.asked.append(tuple(digests))
        for digest in digests:
            if digest in self.chunks:
                take(digest, self.chunks[digest])
        if not set(digests) <= set(self.chunks):
            raise FetchError("some are missing", reason=Reason.MISSING_CHUNK)


class PatientBroker:
    """As a real one: waits for what is missing, a second at a time."""

    def __init__(self, clock: FakeClock, chunks: dict[str, bytes]) -> None:
        self.clock = clock
        self.chunks = chunks
        self.asked: list[tuple[str, ...]] = []

    def collect(
        self,
        digests: Sequence[str],
        take: Callable[[str, bytes], None],
        *,
        cancelled: Callable[[], bool],
        trouble: Callable[[Reason, str], None],
    ) -> None:
        self.asked.append(tuple(digests))
        left = list(digests)
        while left and not cancelled():
            for digest in [digest for digest in left if digest in self.chunks]:
                take(digest, self.chunks[digest])
                left.remove(digest)
            if left:
                trouble(Reason.MISSING_CHUNK, f"{len(left)} are missing")
                self.clock.advance(1.0)


def run(transport: AlternatingTransport) -> tuple[dict[str, bytes], list[Reason]]:
    taken: dict[str, bytes] = {}
    troubles: list[Reason] = []
    transport.collect(
        tuple(CHUNKS),
        taken.__setitem__,
        cancelled=lambda: False,
        trouble=lambda reason, _: troubles.append(reason),
    )
    return taken, troubles


def some(*numbers: int) -> dict[str, bytes]:
    return {digest: chunk for number, (digest, chunk) in enumerate(CHUNKS.items()) if number in numbers}


def test_the_broker_is_not_asked_for_what_a_web_server_has() -> None:
    clock = FakeClock()
    broker = PatientBroker(clock, {})

    assert run(AlternatingTransport([FakeSource(CHUNKS)], broker, clock)) == (CHUNKS, [])
    assert broker.asked == []


def test_the_broker_gives_what_the_web_servers_lack() -> None:
    clock = FakeClock()
    first, second = FakeSource(some(0, 1), "https://1"), FakeSource(some(1, 2), "https://2")
    broker = PatientBroker(clock, CHUNKS)

    assert run(AlternatingTransport([first, second], broker, clock)) == (CHUNKS, [])
    assert set(second.asked[0]) == set(CHUNKS) - set(some(0, 1))
    assert set(broker.asked[0]) == set(CHUNKS) - set(some(0, 1, 2))


def test_when_the_broker_brings_nothing_the_web_server_is_asked_again() -> None:
    clock = FakeClock()
    source, broker = FakeSource({}), PatientBroker(clock, some(3))
    real = source.collect

    def mended(*arguments: object, **more: object) -> None:
        source.chunks = CHUNKS if clock.monotonic_s() >= REST_S else {}
        real(*arguments, **more)  # type: ignore[arg-type]  # handed on

    source.collect = mended  # type: ignore[method-assign]
    taken, troubles = run(AlternatingTransport([source], broker, clock))

    assert taken == CHUNKS
    assert set(troubles) == {Reason.MISSING_CHUNK}  # the broker says what it lacks
    assert len(source.asked) == 2
    assert set(source.asked[1]) == set(CHUNKS) - set(some(3))
    assert clock.monotonic_s() >= PATIENCE_S


def test_a_web_server_that_has_failed_is_left_alone_for_a_while_by_the_next_fetch_too() -> None:
    clock = FakeClock()
    source, rested = FakeSource({}), dict[str, float]()
    for _ in range(2):
        run(AlternatingTransport([source], PatientBroker(clock, CHUNKS), clock, rested))
    assert len(source.asked) == 1

    clock.advance(REST_S)
    run(AlternatingTransport([source], PatientBroker(clock, CHUNKS), clock, rested))
    assert len(source.asked) == 2


def test_a_release_that_names_no_source_goes_straight_to_the_broker() -> None:
    clock = FakeClock()
    broker = SimTransport()

    assert Transports(broker, Pace(clock), clock).of(make_release("1").target) is broker
