"""Chunks from web servers that behave, lie, stall, cut off and never end; and from the broker what they lack."""

import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_agent.clock import SystemClock
from edge_agent.errors import ArtifactError, FetchError, Reason
from edge_agent.link import https, pack_readers
from edge_agent.link.https import HttpsSource
from edge_agent.link.pace import Pace
from edge_agent.link.ranges import RangeConnection
from edge_agent.link.transports import PATIENCE_S, REST_S, AlternatingTransport, Transports
from edge_agent.release.chunks import CHUNK_BYTES, MAX_PAYLOAD_BYTES, digest_of_chunk, pack
from edge_agent.release.pack_file import MAX_CHUNKS, Place, format_pack, parse_table
from tests.link.test_device import Device, other_client
from tests.sim.broker import run_mosquitto
from tests.sim.certificates import make_authority
from tests.sim.clock import FakeClock
from tests.sim.releases import SimTransport, make_release, noise
from tests.sim.web import Answer, Request, Web, run_web

CHUNKS = {digest_of_chunk(chunk): chunk for chunk in (noise(CHUNK_BYTES, str(number)) for number in range(12))}
FIRST, SECOND, THIRD = list(CHUNKS)[:3]
RELEASE = "f" * 64
FILE = f"/packs/{RELEASE}.pack"


@pytest.fixture(autouse=True)
def _short_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack_readers, "RUN_BYTES", 2 * MAX_PAYLOAD_BYTES)


class Server:
    """A web server with a release, over TLS; `ca` is whom to believe."""

    def __init__(self, web: Web, ca: Path) -> None:
        self.web = web
        self.ca = ca
        self.places: dict[str, Place] = {}

    def hold(self, chunks: Mapping[str, bytes], path: str = FILE) -> bytes:
        """`chunks`: digest to payload. Gives the file."""
        content = format_pack(chunks)
        self.places = parse_table(content)
        self.web.answers[path] = giving(content)
        return content

    def answer(self, digest: str, answer: Answer, path: str = FILE) -> None:
        """Answer what is asked from this chunk on in another way."""
        usual, begin = self.web.answers[path], self.places[digest].offset

        def choose(request: Request) -> None:
            (answer if asked(request)[0] == begin else usual)(request)

        self.web.answers[path] = choose

    def hold_directory(self, directory: Path) -> None:
        """Serve files as they are now."""
        for path in directory.iterdir():
            self.web.answers[f"/packs/{path.name}"] = giving(path.read_bytes())

    @property
    def base(self) -> str:
        return self.web.url("/packs", "https")

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """What was asked for after the table."""
        found = [_span(headers["Range"]) for _, headers in self.web.asked]
        return sorted(span for span in found if span[0] > 0)

    def source(self, *, pace: Pace | None = None, base: str | None = None) -> HttpsSource:
        clock = SystemClock()
        return HttpsSource(base or self.base, RELEASE, pace or Pace(clock), clock, ca_file=self.ca)


def _span(text: str) -> tuple[int, int]:
    first, _, last = text.removeprefix("bytes=").partition("-")
    return int(first), int(last) + 1


def asked(request: Request) -> tuple[int, int]:
    return _span(request.headers["Range"])


def giving(content: bytes) -> Answer:
    """As web servers give files."""

    def answer(request: Request) -> None:
        first, end = asked(request)
        end = min(end, len(content))
        if first >= end:
            request.say(416, Content_Range=f"bytes */{len(content)}")
        else:
            request.say(206, content[first:end], Content_Range=f"bytes {first}-{end - 1}/{len(content)}")

    return answer


def with_body(body: Callable[[int], bytes]) -> Answer:
    """A part that says it is what was asked for; `body` makes it of the bytes that were."""

    def answer(request: Request) -> None:
        first, end = asked(request)
        request.say(206, body(end - first), Content_Range=f"bytes {first}-{end - 1}/*")

    return answer


PAYLOADS = {digest: pack(chunk) for digest, chunk in CHUNKS.items()}


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


def test_every_chunk_comes_over_a_few_connections_in_few_requests(server: Server) -> None:
    server.hold(PAYLOADS)

    assert collect(server.source()) == CHUNKS
    assert [end for _, end in server.ranges[:-1]] == [first for first, _ in server.ranges[1:]]
    assert len(server.ranges) == 6


def test_only_what_is_missing_is_asked_for_and_what_stands_beside_it_comes_with_it(server: Server) -> None:
    server.hold(PAYLOADS)
    taken: dict[str, bytes] = {}
    wanted = [list(CHUNKS)[number] for number in (7, 1, 2, 11)]
    server.source().collect(wanted, taken.__setitem__, cancelled=lambda: False, trouble=None)

    assert taken == {digest: CHUNKS[digest] for digest in wanted}
    places = [server.places[list(CHUNKS)[number]] for number in (1, 2, 7, 11)]
    assert server.ranges == [
        (places[0].offset, places[1].end), (places[2].offset, places[2].end), (places[3].offset, places[3].end)
    ]  # fmt: skip


def test_a_table_longer_than_the_first_answer_is_read_on(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack_readers, "FIRST_BYTES", 50)
    server.hold(PAYLOADS)
    assert server.source().read_places() == server.places
    assert len(server.web.asked) == 10  # 455 bytes


def test_the_table_is_read_once_and_what_it_lacks_is_left_to_others(server: Server) -> None:
    server.hold({FIRST: PAYLOADS[FIRST], SECOND: PAYLOADS[SECOND]})
    source = server.source()
    taken: dict[str, bytes] = {}
    for _ in range(2):
        source.collect([THIRD, SECOND], taken.__setitem__, cancelled=lambda: False, trouble=None)
    assert list(taken) == [SECOND]
    assert len(server.web.asked) == 3


def test_what_comes_with_the_table_is_not_asked_for_again(server: Server) -> None:
    small = {digest_of_chunk(chunk): chunk for chunk in (noise(1000, "index"), noise(2000, "keyring"))}
    content = server.hold({digest: pack(chunk) for digest, chunk in small.items()} | PAYLOADS)
    source = server.source()
    taken: dict[str, bytes] = {}
    source.collect(list(small), taken.__setitem__, cancelled=lambda: False, trouble=None)
    assert taken == small
    assert len(server.web.asked) == 1

    first = next(iter(small))
    at = server.places[first].offset
    server.web.answers[FILE] = giving(content[:at] + b"!" + content[at + 1 :])
    with pytest.raises(FetchError) as caught:
        server.source().collect(list(small), taken.__setitem__, cancelled=lambda: False, trouble=None)
    assert caught.value.reason is Reason.CORRUPT_CHUNK


def test_a_server_that_is_not_trusted_is_told_nothing(server: Server) -> None:
    server.hold(PAYLOADS)
    server.ca = Path(ssl.get_default_verify_paths().cafile or "/nonexistent")
    source = HttpsSource(server.base, RELEASE, Pace(SystemClock()), SystemClock())  # the system's authorities

    taken, error = failing(source)
    assert (taken, server.web.asked) == ({}, [])
    assert "not trusted" in str(error)


def test_a_server_with_another_name_is_not_trusted(server: Server) -> None:
    server.hold(PAYLOADS)
    taken, error = failing(server.source(base=server.base.replace("127.0.0.1", "localhost")))

    assert (taken, server.web.asked) == ({}, [])
    assert "not trusted" in str(error)


def test_a_ca_file_that_is_none_is_said(server: Server, tmp_path: Path) -> None:
    server.ca = tmp_path / "missing.pem"

    assert "missing.pem cannot be used" in str(failing(server.source())[1])


def _endless(request: Request) -> None:
    first, end = asked(request)
    request.send_response(206)
    request.send_header("Content-Range", f"bytes {first}-{end - 1}/*")
    request.send_header("Connection", "close")
    request.end_headers()
    request.close_connection = True
    while True:
        request.wfile.write(bytes(10_000))


def _oversized(request: Request) -> None:
    first, end = asked(request)
    request.send_response(206)
    request.send_header("Content-Range", f"bytes {first}-{end - 1}/*")
    request.send_header("Content-Length", str(1 << 40))
    request.end_headers()


def _cut_off(request: Request) -> None:
    first, end = asked(request)
    request.send_response(206)
    request.send_header("Content-Range", f"bytes {first}-{end - 1}/*")
    request.send_header("Content-Length", str(end - first))
    request.end_headers()
    request.wfile.write(b"x" * 1000)
    request.close_connection = True


def _hang_up(request: Request) -> None:
    request.close_connection = True


def _endless_headers(request: Request) -> None:
    request.send_response(206)
    for number in range(10_000):
        request.send_header(f"X-{number}", "x")
    request.end_headers()


def _lie_about_status(request: Request) -> None:
    request.wfile.write(b"HTTP/1.1 hello\r\n\r\n")
    request.close_connection = True


def _squeezed(request: Request) -> None:
    first, end = asked(request)
    request.say(206, b"x", Content_Range=f"bytes {first}-{end - 1}/*", Content_Encoding="gzip")


def _ranged(text: str) -> Answer:
    return lambda request: request.say(206, b"x", Content_Range=text)


def _to(location: str) -> Answer:
    return lambda request: request.say(302, Location=location)


_LOST, _SPOILT = Reason.MISSING_CHUNK, Reason.CORRUPT_CHUNK
BAD: dict[str, tuple[Answer, Reason]] = {
    "other bytes": (with_body(bytes), _SPOILT),
    "noise": (with_body(lambda size: noise(size, "x")), _SPOILT),
    "a zlib bomb": (with_body(lambda size: pack(bytes(50_000_000)).ljust(size, b"x")), _SPOILT),
    "another part": (_ranged("bytes 0-0/9"), _LOST),
    "no part": (_ranged("pages 1-2"), _LOST),
    "a part of a terabyte": (_ranged(f"bytes 0-{1 << 40}/*"), _LOST),
    "a part without a range": (lambda request: request.say(206, b"x"), _LOST),
    "a compressed part": (_squeezed, _LOST),
    "all of it": (lambda request: request.say(200, b"x" * 1000), _LOST),
    "beyond its end": (lambda request: request.say(416), _LOST),
    "an error page": (lambda request: request.say(500, b"oops"), _LOST),
    "endless data": (_endless, _SPOILT),
    "a terabyte": (_oversized, _LOST),
    "half of it": (_cut_off, _LOST),
    "a closed connection": (_hang_up, _LOST),
    "endless headers": (_endless_headers, _LOST),
    "no HTTP": (_lie_about_status, _LOST),
    "a redirect to plain http": (_to("http://127.0.0.1/x"), _LOST),
    "a redirect to a file": (_to("file:///etc/passwd"), _LOST),
    "a redirect to itself": (_to(FILE), _LOST),
    "a redirect to nowhere": (lambda request: request.say(302), _LOST),
    "a redirect to no URL": (_to("https://[/"), _LOST),
    "a redirect to an odd port": (_to("https://127.0.0.1:999999/"), _LOST),
    "a redirect to an odd name": (_to("https://a..b/ x"), _LOST),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_a_bad_server_says_is_bounded_and_spoils_no_other_chunk(server: Server, kind: str) -> None:
    server.hold(PAYLOADS)
    answer, reason = BAD[kind]
    server.answer(FIRST, answer)

    taken, error = failing(server.source())

    assert taken == {digest: chunk for digest, chunk in CHUNKS.items() if digest not in (FIRST, SECOND)}
    assert error.reason is reason


@pytest.mark.parametrize("kind", [kind for kind in BAD if "redirect" not in kind])
def test_a_table_that_is_none_is_bounded_and_asks_for_nothing_more(server: Server, kind: str) -> None:
    server.web.answers[FILE] = BAD[kind][0]
    taken, _ = failing(server.source())
    assert taken == {}
    assert len(server.web.asked) <= 2  # one more, where a connection was closed


@pytest.mark.parametrize(
    "table",
    [
        b"", b"edge-deploy pack 1\n", b"edge-deploy pack 2\n\0\0\0\0", b"edge-deploy pack 1\n\xff\xff\xff\xff",
        b"edge-deploy pack 1\n\0\0\0\1" + b"x" * 32 + b"\xff\xff\xff\xff", b"edge-deploy pack 1\n\0\0\0\5" + b"x" * 40,
    ],
)  # fmt: skip
def test_a_file_that_is_no_pack_is_refused(server: Server, table: bytes) -> None:
    server.web.answers[FILE] = giving(table)
    taken, _ = failing(server.source())
    assert taken == {}
    assert len(server.web.asked) <= 2


def test_of_a_long_table_only_what_is_wanted_is_kept_and_a_longer_one_is_not_written() -> None:
    table = format_pack(dict.fromkeys((f"{number:064x}" for number in range(MAX_CHUNKS)), b"x"))
    last = f"{MAX_CHUNKS - 1:064x}"
    assert parse_table(table, {last, "0" * 63 + "z"}) == {last: Place(len(table) - 1, 1)}
    with pytest.raises(ArtifactError, match="at most"):
        format_pack(dict.fromkeys((f"{number:064x}" for number in range(MAX_CHUNKS + 1)), b""))


def test_a_file_that_is_replaced_in_the_middle_costs_nothing_but_asking_again(server: Server) -> None:
    server.hold(PAYLOADS)
    usual, backwards = server.web.answers[FILE], format_pack(dict(reversed(PAYLOADS.items())))

    def replaced(request: Request) -> None:
        usual(request)
        if asked(request)[0] > 0:
            server.web.answers[FILE] = giving(backwards)

    server.web.answers[FILE] = replaced
    source = server.source()
    taken, error = failing(source)
    assert taken.items() < CHUNKS.items()
    assert error.reason is Reason.CORRUPT_CHUNK
    assert collect(source) == CHUNKS


def test_a_server_that_cuts_every_answer_short_is_asked_for_the_rest_and_for_nothing_twice(server: Server) -> None:
    content = server.hold(PAYLOADS)
    whole: list[tuple[int, int]] = []

    def one_chunk(request: Request) -> None:
        first, end = asked(request)
        ends = [place.end for place in server.places.values() if place.offset == first] or [end]
        whole.append((first, ends[0]))
        request.send_response(206)
        request.send_header("Content-Range", f"bytes {first}-{end - 1}/{len(content)}")
        request.send_header("Content-Length", str(end - first))
        request.end_headers()
        request.wfile.write(content[first : ends[0]])
        request.close_connection = True

    server.web.answers[FILE] = one_chunk
    assert collect(server.source()) == CHUNKS
    assert sorted(whole[1:]) == sorted((place.offset, place.end) for place in server.places.values())


def test_a_table_that_lies_about_places_costs_its_server_and_nothing_else(server: Server) -> None:
    server.hold({FIRST: PAYLOADS[SECOND], SECOND: PAYLOADS[FIRST], THIRD: PAYLOADS[THIRD]})
    taken, error = failing(server.source())
    assert taken == {THIRD: CHUNKS[THIRD]}
    assert error.reason is Reason.CORRUPT_CHUNK


def test_redirects_within_https_are_followed(server: Server) -> None:
    server.hold(PAYLOADS, "/elsewhere")
    server.web.answers[FILE] = _to("/more")
    server.web.answers["/more"] = _to(server.web.url("/elsewhere", "https"))

    assert collect(server.source()) == CHUNKS


def test_a_redirect_to_a_signed_address_keeps_what_signs_it(server: Server) -> None:
    server.hold(PAYLOADS, "/store")
    usual = server.web.answers["/store"]
    server.web.answers["/store"] = lambda request: (
        usual(request) if request.path == "/store?key=a&signature=b" else request.say(403)
    )
    server.web.answers[FILE] = _to("/store?key=a&signature=b")

    assert collect(server.source()) == CHUNKS


def test_a_redirect_to_plain_http_is_not_followed_though_it_would_lead_to_the_file(server: Server) -> None:
    server.hold(PAYLOADS, "/elsewhere")
    server.web.answers[FILE] = _to(server.web.url("/elsewhere", "http"))

    taken, error = failing(server.source())
    assert taken == {}
    assert "which is not https" in str(error)


def test_a_server_without_the_release_is_asked_once(server: Server) -> None:
    assert "404" in str(failing(server.source())[1])
    assert len(server.web.asked) == 1


def test_a_server_that_fails_again_and_again_is_given_up(server: Server) -> None:
    server.hold(PAYLOADS)
    usual = server.web.answers[FILE]
    server.web.answers[FILE] = lambda request: usual(request) if asked(request)[0] == 0 else request.say(500)
    taken, _ = failing(server.source())
    assert taken == {}
    assert len(server.ranges) <= https.MAX_FAILURES + pack_readers.CONNECTIONS


def test_a_connection_that_the_server_has_closed_meanwhile_is_made_anew(server: Server) -> None:
    server.hold(PAYLOADS)
    usual = server.web.answers[FILE]

    def once(request: Request) -> None:
        usual(request)
        request.close_connection = True  # without a word: the next request finds it closed

    server.web.answers[FILE] = once
    assert collect(server.source()) == CHUNKS


def test_a_server_that_stalls_is_given_up_by_the_clock_and_what_has_come_stays(server: Server) -> None:
    server.hold(PAYLOADS)
    stalled, over = Event(), Event()

    def stall(request: Request) -> None:
        first, end = asked(request)
        request.send_response(206)
        request.send_header("Content-Range", f"bytes {first}-{end - 1}/*")
        request.send_header("Content-Length", str(end - first))
        request.end_headers()
        request.wfile.write(b"x")
        request.wfile.flush()
        stalled.set()
        over.wait(60)

    server.answer(FIRST, stall)
    clock = FakeClock()
    source = HttpsSource(server.base, RELEASE, Pace(clock), clock, ca_file=server.ca)
    taken: dict[str, bytes] = {}

    def time_flies() -> bool:
        if stalled.is_set() and len(taken) == len(CHUNKS) - 2:
            clock.advance(https.CHUNK_S + 1)
        return False

    with pytest.raises(FetchError, match="took more than 60 s"):
        source.collect(tuple(CHUNKS), taken.__setitem__, cancelled=time_flies, trouble=None)
    over.set()
    assert len(taken) == len(CHUNKS) - 2


def _trickle(stalled: Event, over: Event, sent: bytes) -> Answer:
    def answer(request: Request) -> None:
        request.wfile.write(sent)
        request.wfile.flush()
        stalled.set()
        over.wait(60)
        request.close_connection = True

    return answer


@pytest.mark.parametrize(
    "sent", [b"", b"HTTP/1.1 206 Partial", b"HTTP/1.1 206 OK\r\nContent-Range: bytes 0-60127/*\r\n\r\nedge-"]
)
def test_a_table_that_trickles_is_given_up_by_the_clock(server: Server, sent: bytes) -> None:
    stalled, over = Event(), Event()
    server.web.answers[FILE] = _trickle(stalled, over, sent)
    clock = FakeClock()
    source = HttpsSource(server.base, RELEASE, Pace(clock), clock, ca_file=server.ca)

    def time_flies() -> bool:
        if stalled.is_set():
            clock.advance(https.CHUNK_S + 1)
        return False

    with pytest.raises(FetchError, match="took more than 60 s"):
        source.collect([FIRST], lambda *_: None, cancelled=time_flies, trouble=None)
    over.set()


def test_cancelling_ends_it_though_the_table_stalls(server: Server) -> None:
    stalled, over = Event(), Event()
    server.web.answers[FILE] = _trickle(stalled, over, b"HTTP/1.1 206 ")
    server.source().collect([FIRST], lambda *_: None, cancelled=stalled.is_set, trouble=None)
    over.set()


def test_a_connection_that_was_given_up_while_it_was_made_asks_for_nothing(server: Server) -> None:
    server.hold(PAYLOADS)
    connection = RangeConnection(ssl.create_default_context(cafile=server.ca))
    connection.abort()
    with pytest.raises(ConnectionAbortedError):
        connection.range(server.web.url(FILE, "https"), 0, 10)
    connection.close()
    assert server.web.asked == []


def test_cancelling_ends_it_though_the_server_stalls(server: Server) -> None:
    stalled, over = Event(), Event()

    def stall(request: Request) -> None:
        stalled.set()
        over.wait(60)

    server.hold(PAYLOADS)
    server.answer(FIRST, stall)
    server.source().collect([FIRST], lambda *_: None, cancelled=stalled.is_set, trouble=None)
    over.set()


def test_what_the_caller_raises_ends_it(server: Server) -> None:
    server.hold(PAYLOADS)

    def refuse(digest: str, content: bytes) -> None:
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        server.source().collect(tuple(CHUNKS), refuse, cancelled=lambda: False, trouble=None)


def test_a_cap_holds_here_too_with_the_table(server: Server) -> None:
    server.hold(PAYLOADS)
    clock = FakeClock()
    rate = 2 * MAX_PAYLOAD_BYTES
    taken: dict[str, bytes] = {}

    def time_goes_on() -> bool:
        spans = [_span(headers["Range"]) for _, headers in server.web.asked]
        assert sum(end - first for first, end in spans) <= rate * (1 + clock.monotonic_s())
        clock.advance(0.25)
        return False

    source = server.source(pace=Pace(clock, rate))
    source.collect(tuple(CHUNKS), taken.__setitem__, cancelled=time_goes_on, trouble=None)
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

    server.hold(PAYLOADS)
    server.answer(FIRST, answer)
    taken: dict[str, bytes] = {}
    with pytest.raises(FetchError):
        server.source().collect([FIRST], taken.__setitem__, cancelled=lambda: False, trouble=None)
    assert taken == {}


def test_a_server_that_dies_in_the_middle_is_replaced_by_a_real_broker(server: Server, tmp_path: Path) -> None:
    server.hold(PAYLOADS)
    usual = server.web.answers[FILE]

    def die(request: Request) -> None:
        if len(server.web.asked) > 4:
            request.close_connection = True
        else:
            usual(request)

    server.web.answers[FILE] = die
    with run_mosquitto(tmp_path) as broker, other_client(broker.settings) as other:
        other.publish_chunks(CHUNKS)
        device = Device(broker.settings)
        with device.link:
            taken, troubles = run(AlternatingTransport([server.source()], device.link, SystemClock()))
    assert taken == CHUNKS
    assert Reason.WEB_SOURCE in troubles


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

    taken, troubles = run(AlternatingTransport([first, second], broker, clock))
    assert (taken, troubles) == (CHUNKS, [Reason.WEB_SOURCE] * 2)  # each is told of
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
    assert set(troubles) == {Reason.WEB_SOURCE, Reason.MISSING_CHUNK}  # each says what it lacks
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
