"""The control socket: real sockets, good and bad company."""

import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from edge_agent.control import SOCKET_NAME, ControlServer, NotRunningError, ask
from edge_agent.errors import EdgeError, InputError


def echo(request: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"heard": request}


def raw(state_dir: Path, request: bytes) -> dict[str, Any]:
    """What anybody may send who may open the socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(30)
        connection.connect(str(state_dir / SOCKET_NAME))
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        return dict(json.loads(connection.makefile("rb").readline()))


def test_a_question_is_answered(tmp_path: Path) -> None:
    with ControlServer(tmp_path, echo):
        assert ask(tmp_path, {"ask": "status"}) == {"heard": {"ask": "status"}}
        assert ask(tmp_path, {"ask": "more"}) == {"heard": {"ask": "more"}}


def test_a_long_answer_is_whole(tmp_path: Path) -> None:
    with ControlServer(tmp_path, lambda _: {"text": "ü" * 500_000}):
        assert len(ask(tmp_path, {})["text"]) == 500_000


def test_a_refusal_comes_with_its_hint(tmp_path: Path) -> None:
    def refuse(request: Mapping[str, Any]) -> Mapping[str, Any]:
        raise InputError("there is no earlier release", hint="push one")

    with ControlServer(tmp_path, refuse), pytest.raises(EdgeError, match="no earlier release") as caught:
        ask(tmp_path, {})
    assert caught.value.hint == "push one"
    assert not isinstance(caught.value, NotRunningError)


@pytest.mark.parametrize(
    "request_", [b"", b"\n", b"nonsense\n", b"[1]\n", b'"x"\n', b"\xff\xfe\n", b"[" * 60_000 + b"\n"]
)
def test_what_is_no_question_is_refused_and_the_next_one_is_answered(tmp_path: Path, request_: bytes) -> None:
    with ControlServer(tmp_path, echo):
        answer = raw(tmp_path, request_)
        assert answer["ok"] is False
        assert "expected" in answer["error"]
        assert "heard" not in answer
        assert ask(tmp_path, {}) == {"heard": {}}


def test_a_question_without_an_end_is_refused(tmp_path: Path) -> None:
    with ControlServer(tmp_path, echo):
        assert raw(tmp_path, b'{"ask": "' + b"x" * 65_000)["ok"] is False


def test_whoever_goes_away_costs_only_their_own_answer(tmp_path: Path) -> None:
    with ControlServer(tmp_path, lambda _: {"text": "x" * 5_000_000}):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.connect(str(tmp_path / SOCKET_NAME))
            connection.sendall(b"{}\n")
        assert len(ask(tmp_path, {})["text"]) == 5_000_000


def test_a_state_directory_may_lie_deeper_than_a_socket_address_is_long(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    with ControlServer(deep, echo):
        assert (deep / SOCKET_NAME).stat().st_mode & 0o777 == 0o660
        assert ask(deep, {"ask": 1}) == {"heard": {"ask": 1}}
    assert list(deep.iterdir()) == []


def test_without_an_agent_nobody_is_asked(tmp_path: Path) -> None:
    with pytest.raises(NotRunningError, match="no agent answers") as caught:
        ask(tmp_path, {})
    assert caught.value.hint is not None
    with pytest.raises(NotRunningError):
        ask(tmp_path / "missing", {})


def test_what_a_killed_agent_left_behind_is_no_agent_and_no_obstacle(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as killed:
        killed.bind(str(tmp_path / SOCKET_NAME))
    with pytest.raises(NotRunningError):
        ask(tmp_path, {})
    with ControlServer(tmp_path, echo):
        assert ask(tmp_path, {}) == {"heard": {}}
    assert not (tmp_path / SOCKET_NAME).exists()
