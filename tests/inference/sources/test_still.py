"""A picture fetched again and again, from a real web server."""

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.config.sources import StillSource
from edge_agent.errors import SourceError
from edge_agent.inference.frame import Frame, Nothing, Unusable, Wanted
from edge_agent.inference.sources import still
from tests.inference.sources.pictures import jpeg, names, open_source, png, shade, take_all
from tests.sim.certificates import make_authority
from tests.sim.web import Answer, Request, Web, run_web, with_basic, with_digest


@pytest.fixture
def web() -> Iterator[Web]:
    with run_web(Web()) as running:
        yield running


def in_turn(*contents: bytes) -> Answer:
    """Answers each request with the next content, and in the end with the last one."""
    left = list(contents)

    def answer(request: Request) -> None:
        request.say(200, left.pop(0) if len(left) > 1 else left[0], Content_Type="image/jpeg")

    return answer


def still_of(web: Web, path: str = "/now.jpg", **more: object) -> StillSource:
    return StillSource("still", web.url(path), timeout_s=5.0, **more)  # type: ignore[arg-type]  # each test knows


def test_a_picture_is_fetched_each_time_and_only_new_ones_are_given(web: Web) -> None:
    web.answers["/now.jpg"] = in_turn(jpeg(10), jpeg(10), jpeg(250))
    with open_source(still_of(web)) as source:
        items = [source.take(Wanted()) for _ in range(4)]
    assert [type(item) for item in items] == [Frame, Nothing, Frame, Nothing]
    assert shade(items[0]) < shade(items[2])
    assert [item.name for item in items if isinstance(item, Frame)] == ["0", "1"]


def test_a_server_that_knows_versions_is_spared_the_picture(web: Web) -> None:
    def answer(request: Request) -> None:
        if request.headers.get("If-None-Match") == '"7"':
            request.say(304)
        else:
            request.say(200, jpeg(), ETag='"7"')

    web.answers["/now.jpg"] = answer
    with open_source(still_of(web)) as source:
        assert [type(source.take(Wanted())) for _ in range(3)] == [Frame, Nothing, Nothing]
    assert [headers.get("If-None-Match") for _, headers in web.asked] == [None, '"7"', '"7"']


@pytest.mark.parametrize("ask", [with_basic, with_digest])
def test_passwords_are_given_as_the_camera_asks_for_them(web: Web, tmp_path: Path, ask: object) -> None:
    (tmp_path / "password").write_text("s3cr:et @/\n")
    web.answers["/now.jpg"] = ask(in_turn(jpeg()), "eve", "s3cr:et @/")  # type: ignore[operator]  # one of the two
    with open_source(still_of(web, username="eve", password_file=tmp_path / "password")) as source:
        assert isinstance(source.take(Wanted()), Frame)


@pytest.mark.parametrize("ask", [with_basic, with_digest])
def test_a_wrong_password_is_told_without_it(web: Web, tmp_path: Path, ask: object) -> None:
    (tmp_path / "password").write_text("hunter2")
    web.answers["/now.jpg"] = ask(in_turn(jpeg()), "eve", "other")  # type: ignore[operator]  # one of the two
    config = still_of(web, "/now.jpg?token=hunter3", username="eve", password_file=tmp_path / "password")
    with open_source(config) as source, pytest.raises(SourceError, match="401") as caught:
        source.take(Wanted())
    told = f"{caught.value} {caught.value.hint}"
    assert "/now.jpg" in told
    assert "hunter" not in told


def test_a_password_does_not_follow_a_redirect_to_another_host(web: Web, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("hunter2")
    with run_web(Web()) as other:
        other.answers["/stolen.jpg"] = with_basic(in_turn(jpeg()), "eve", "hunter2")
        web.answers["/now.jpg"] = lambda request: request.say(302, Location=other.url("/stolen.jpg"))
        config = still_of(web, username="eve", password_file=tmp_path / "password")
        with open_source(config) as source, pytest.raises(SourceError, match="401"):
            source.take(Wanted())
        assert not any("Authorization" in headers for _, headers in other.asked)


def test_a_redirect_does_not_lead_to_files_of_the_device(web: Web) -> None:
    web.answers["/now.jpg"] = lambda request: request.say(302, Location="file:///etc/passwd")
    with open_source(still_of(web)) as source, pytest.raises(SourceError, match="302"):
        source.take(Wanted())


def test_what_is_no_picture_costs_only_itself(web: Web) -> None:
    web.answers["/now.jpg"] = in_turn(b"<html>busy</html>", b"", png((20_000, 20_000)), png((1, 1)))
    with open_source(still_of(web)) as source:
        items = [source.take(Wanted()) for _ in range(4)]
    assert [type(item) for item in items] == [Unusable, Unusable, Unusable, Frame]


def test_a_camera_that_is_off_and_comes_back(web: Web) -> None:
    web.answers["/now.jpg"] = in_turn(jpeg(1), jpeg(2))
    source = open_source(still_of(web))
    with source:
        assert names(take_all(source, at_most=1)) == ["0"]
    gone = Web(answers=web.answers, port=_free_port())
    with pytest.raises(SourceError, match="refused") as caught, open_source(still_of(gone)) as other:
        other.take(Wanted())
    assert caught.value.hint
    with source:
        assert names(take_all(source, at_most=1)) == ["1"]


def test_an_answer_that_is_cut_off_is_trouble_and_no_picture(web: Web) -> None:
    def answer(request: Request) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "100000")
        request.end_headers()
        request.wfile.write(jpeg())
        request.close_connection = True

    web.answers["/now.jpg"] = answer
    with open_source(still_of(web)) as source, pytest.raises(SourceError):
        source.take(Wanted())


def test_an_endless_answer_is_cut_off(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(still, "MAX_PICTURE_BYTES", 100_000)
    web.answers["/now.jpg"] = in_turn(b"x" * 200_000)
    with open_source(still_of(web)) as source, pytest.raises(SourceError, match="more than 100000 bytes"):
        source.take(Wanted())


def test_a_camera_that_never_answers_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        config = StillSource("still", f"http://127.0.0.1:{silent.getsockname()[1]}/", timeout_s=0.1)
        with open_source(config) as source, pytest.raises(SourceError, match="no answer in time"):
            source.take(Wanted())


def test_a_password_file_that_is_missing_is_named(web: Web, tmp_path: Path) -> None:
    config = still_of(web, username="eve", password_file=tmp_path / "gone")
    with pytest.raises(SourceError, match="gone") as caught, open_source(config):
        pass
    assert caught.value.hint


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def test_a_certificate_that_is_not_trusted_is_told_and_one_that_is_trusted_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = make_authority(tmp_path, "house")
    certificate, key = authority.issue("camera", address="127.0.0.1")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    with run_web(Web({"/now.jpg": in_turn(jpeg())}), tls) as web:
        config = StillSource("still", web.url("/now.jpg", "https"), timeout_s=5.0)
        with open_source(config) as source, pytest.raises(SourceError, match="certificate is not trusted") as caught:
            source.take(Wanted())
        assert "install its certificate" in str(caught.value.hint)
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
        with open_source(config) as source:
            assert isinstance(source.take(Wanted()), Frame)
