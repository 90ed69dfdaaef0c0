"""The reason that is given for each kind of unreachable server, and the API key that `wandb login` stored."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from inr_xai.loggers.reachable import stored_key, unreachable_reason
from tests.helpers.wandb_double import serve


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port where connections are accepted and never answered."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_a_server_that_answers_can_be_used() -> None:
    with serve() as double:
        assert unreachable_reason(double.url, api_key="0" * 40, seconds=10) is None
        assert double.operations == ["Viewer"]


@pytest.mark.parametrize(
    ("status", "reason"), [(500, "answers with error 500"), (401, "refuses the API key"), (404, None)]
)
def test_error_codes(status: int, reason: str | None) -> None:
    with serve() as double:
        double.status = status
        assert unreachable_reason(double.url, api_key="0" * 40, seconds=10) == reason


def test_a_server_without_key_is_not_said_to_refuse_it() -> None:
    with serve() as double:
        double.status = 401
        assert unreachable_reason(double.url, api_key=None, seconds=10) is None


def test_a_server_that_never_answers(silent_port: int) -> None:
    reason = unreachable_reason(f"http://127.0.0.1:{silent_port}", api_key=None, seconds=0.2)
    assert reason is not None
    assert "did not answer within 0.2 s" in reason or "timed out" in reason


def test_a_port_where_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    reason = unreachable_reason(f"http://127.0.0.1:{port}", api_key=None, seconds=10)
    assert reason is not None
    assert "Connection refused" in reason


def test_a_text_that_is_no_address() -> None:
    reason = unreachable_reason("no address", api_key=None, seconds=10)
    assert reason is not None
    assert reason.startswith("cannot be reached")


def test_the_key_that_wandb_login_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = tmp_path / "netrc"
    monkeypatch.setenv("NETRC", str(stored))
    assert stored_key("http://127.0.0.1:8080") is None
    stored.write_text(f"machine 127.0.0.1:8080\n  login user\n  password {'1' * 40}\n")
    stored.chmod(0o600)
    assert stored_key("http://127.0.0.1:8080") == "1" * 40
    assert stored_key("http://127.0.0.1:9090") is None
