"""Results by HTTP to a real server on loopback: delivered in order, tried again, given up, leaking no secrets."""

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.config.sinks import WebhookSink as WebhookConfig
from edge_agent.errors import InputError
from edge_agent.inference.sinks.headers import parse_headers
from edge_agent.inference.sinks.tree import ResultFormat
from edge_agent.inference.sinks.webhook import WebhookSink
from tests.sim.clock import FakeClock
from tests.sim.results import result
from tests.sim.waiting import until
from tests.sim.webhook import WebServer


@pytest.fixture
def server() -> Iterator[WebServer]:
    with WebServer() as server:
        yield server


@pytest.fixture
def open_sink(server: WebServer) -> Iterator[Callable[..., WebhookSink]]:
    with ExitStack() as sinks:

        def make(path: str = "/hook?token=s3cret", clock: FakeClock | None = None, **settings: Any) -> WebhookSink:
            settings = {"when": "always", "min_interval_s": 0.0, "url": server.url + path, **settings}
            config = WebhookConfig("webhook", **settings)
            sink = WebhookSink(config, ResultFormat("birds", ("main",)), clock or FakeClock(), share=lambda: 0.0)
            sinks.callback(sink.close)
            return sink

        yield make


def test_results_arrive_as_json_in_their_order_over_one_connection(
    server: WebServer, open_sink: Callable[..., WebhookSink]
) -> None:
    sink = open_sink()
    for label in ("crow", "owl", "tit"):
        sink.take(result(label))
    requests = [server.next() for _ in range(3)]
    assert [json.loads(request.body)["results"][0]["label"] for request in requests] == ["crow", "owl", "tit"]
    assert {request.path for request in requests} == {"/hook?token=s3cret"}
    assert requests[0].headers["Content-Type"] == "application/json"
    sink.close()
    assert (sink.dropped, sink.problem, server.connections) == (0, None, 1)


def test_only_changes_are_sent_if_that_is_wanted(server: WebServer, open_sink: Callable[..., WebhookSink]) -> None:
    sink = open_sink(when="changed")
    for label in ("crow", "crow", "owl", "owl"):
        sink.take(result(label))
    sink.close()
    assert server.requests.qsize() == 2


@pytest.mark.parametrize("status", [500, 503, 408, 425, 429])
def test_an_answer_that_says_not_now_is_tried_again(
    server: WebServer, open_sink: Callable[..., WebhookSink], status: int
) -> None:
    server.answer(status, status)
    sink = open_sink()
    sink.take(result("crow"))
    bodies = {server.next().body for _ in range(3)}
    assert len(bodies) == 1
    until(lambda: sink.problem is None)
    assert sink.dropped == 0


@pytest.mark.parametrize("status", [400, 401, 404, 410, 301, 307])
def test_an_answer_that_says_never_is_told_and_not_tried_again(
    server: WebServer, open_sink: Callable[..., WebhookSink], status: int
) -> None:
    server.answers.put((status, {"Location": "http://elsewhere.invalid/"}))
    sink = open_sink()
    sink.take(result("crow"))
    server.next()
    until(lambda: sink.dropped == 1)
    assert sink.problem is not None
    assert sink.problem.startswith(f"{server.url} answered {status}")
    assert "s3cret" not in sink.problem
    sink.take(result("owl"))
    assert json.loads(server.next().body)["results"][0]["label"] == "owl"
    until(lambda: sink.problem is None)
    assert sink.dropped == 1


def test_a_server_that_is_gone_for_a_while_gets_everything_later(open_sink: Callable[..., WebhookSink]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    sink = open_sink(url=f"http://127.0.0.1:{port}/")
    sink.take(result("crow"))
    sink.take(result("owl"))
    until(lambda: sink.problem == f"http://127.0.0.1:{port}: Connection refused")
    with WebServer(port) as late:
        labels = [json.loads(late.next().body)["results"][0]["label"] for _ in range(2)]
        until(lambda: sink.problem is None)
    assert (labels, sink.dropped) == (["crow", "owl"], 0)


def test_a_server_that_hangs_up_between_two_results_is_called_again_at_once(
    server: WebServer, open_sink: Callable[..., WebhookSink]
) -> None:
    server.hang_up_after_each = True
    sink = open_sink()
    for label in ("crow", "owl"):
        sink.take(result(label))
        server.next()
    sink.close()
    assert (sink.dropped, sink.problem, server.connections) == (0, None, 2)


def test_a_result_that_is_too_old_is_given_up_and_counted(open_sink: Callable[..., WebhookSink]) -> None:
    clock = FakeClock()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    sink = open_sink(url=f"http://127.0.0.1:{port}/", clock=clock, retry_s=60.0)
    sink.take(result("crow"))
    until(lambda: sink.problem is not None)
    assert sink.dropped == 0
    clock.advance(61)
    until(lambda: sink.dropped == 1)
    assert "given up after 60 s" in (sink.problem or "")


def test_of_too_many_that_wait_the_oldest_go(server: WebServer, open_sink: Callable[..., WebhookSink]) -> None:
    server.hold.clear()
    sink = open_sink(waiting=2)
    for number in range(5):
        sink.take(result("crow", name=f"{number}.jpg"))
        if number == 0:
            server.next()  # on its way
    assert sink.dropped == 3
    server.hold.set()
    assert [json.loads(server.next().body)["input"] for _ in range(2)] == ["3.jpg", "4.jpg"]


def test_closing_does_not_wait_for_a_server_that_never_answers(
    server: WebServer, open_sink: Callable[..., WebhookSink]
) -> None:
    server.hold.clear()
    sink = open_sink(timeout_s=60.0)
    sink.take(result("crow"))
    server.next()
    sink.close()  # the test would time out
    assert sink.dropped == 1
    sink._thread.join(20)
    assert not sink._thread.is_alive()


def test_closing_sends_what_was_held_back(server: WebServer, open_sink: Callable[..., WebhookSink]) -> None:
    sink = open_sink(min_interval_s=60.0)
    sink.take(result("crow"))
    sink.take(result("owl"))
    sink.close()
    assert server.requests.qsize() == 2
    assert sink.dropped == 0


def test_a_connection_that_gives_no_http_is_tried_again(open_sink: Callable[..., WebhookSink]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nonsense:
        sink = open_sink(url=f"http://127.0.0.1:{nonsense.getsockname()[1]}/")
        sink.take(result("crow"))
        connection, _ = nonsense.accept()
        with connection:
            connection.sendall(b"hello?\r\n\r\n")
            until(lambda: sink.problem is not None)
        assert "no proper answer" in (sink.problem or "")  # while it listens: the next attempt is not refused
        assert sink.dropped == 0


def test_a_host_that_cannot_be_one_is_told(open_sink: Callable[..., WebhookSink]) -> None:
    sink = open_sink(url=f"http://{'a' * 64}.invalid/s3cret")
    sink.take(result("crow"))
    until(lambda: sink.problem is not None)
    assert "s3cret" not in (sink.problem or "")
    assert sink.dropped == 0


# --- headers ----------------------------------------------------------------------------------------------------------


def test_headers_of_a_file_go_with_each_request_and_are_read_anew(
    server: WebServer, open_sink: Callable[..., WebhookSink], tmp_path: Path
) -> None:
    file = tmp_path / "hook.headers"
    file.write_text("# for the hook\nAuthorization: Bearer s3cret\n\nX-Device: porch\n")
    sink = open_sink(header_file=file)
    sink.take(result("crow"))
    headers = server.next().headers
    assert (headers["Authorization"], headers["X-Device"]) == ("Bearer s3cret", "porch")
    file.write_text("Authorization: Bearer n3wer\n")
    sink.take(result("owl"))
    assert server.next().headers["Authorization"] == "Bearer n3wer"


@pytest.mark.parametrize("content", [b"", b"Authorization Bearer s3cret", b"\xff\xfes3cret", b"X: a\x00s3cret"])
def test_a_header_file_that_is_none_is_told_without_its_secrets_and_waited_for(
    server: WebServer, open_sink: Callable[..., WebhookSink], tmp_path: Path, content: bytes
) -> None:
    file = tmp_path / "hook.headers"
    file.write_bytes(content)
    sink = open_sink(header_file=file)
    sink.take(result("crow"))
    until(lambda: sink.problem is not None)
    assert str(file) in (sink.problem or "")
    assert "s3cret" not in (sink.problem or "")
    assert server.requests.empty()
    file.write_text("Authorization: Bearer s3cret\n")
    assert server.next().headers["Authorization"] == "Bearer s3cret"


def test_a_header_that_is_ours_is_refused() -> None:
    with pytest.raises(InputError, match="line 1 of the header file f sets Content-Length"):
        parse_headers("Content-Length: 0", "f")


@given(st.text())
def test_a_header_file_gives_headers_or_our_own_error(text: str) -> None:
    headers: dict[str, str] = {}
    with suppress(InputError):
        headers = parse_headers(text, "f")
    assert all(name.isascii() and "\n" not in value and "\r" not in value for name, value in headers.items())


def test_pauses_grow_and_are_random(open_sink: Callable[..., WebhookSink]) -> None:
    """The largest share of each pause, seen through the event that a pause waits on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    pauses: list[float] = []
    enough = Event()

    def pause(seconds: float) -> bool:
        pauses.append(seconds)
        if len(pauses) == 8:
            enough.set()
        return enough.is_set()

    config = WebhookConfig("webhook", f"http://127.0.0.1:{port}/", min_interval_s=0.0)
    sink = WebhookSink(config, ResultFormat("birds", ("main",)), FakeClock(), share=lambda: 1.0)
    sink._backlog.pause = pause  # type: ignore[method-assign]  # so that nobody has to wait for it
    sink.take(result("crow"))
    assert enough.wait(20)
    sink.close()
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
