"""The reason that is given for each kind of unreachable server, and the API key that `wandb login` stored."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from inr_xai.loggers.reachable import stored_key, unreachable_reason
from tests.helpers.wandb_double import serve, stranger


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
    ("status", "reason"),
    [
        (500, "answers with error 500"),
        (401, "refuses the API key"),
        (404, "answers with error 404"),
        (204, "answers with error 204"),
    ],
)
def test_error_codes(status: int, reason: str | None) -> None:
    with serve() as double:
        double.status = status
        assert unreachable_reason(double.url, api_key="0" * 40, seconds=10) == reason


SIGN_IN = "<!DOCTYPE html>\n<html><head>\n<title>Sign in &amp;\n go</title></head></html>"
FORBIDDEN = "<html><title>Access denied</title></html>"
NO_VIEWER = '{"data": {"viewer": null}}'
ERRORS = '{"data": null, "errors": [{"message": "permission denied", "path": ["viewer"]}]}'
OTHER = "is no W&B server: it answers with the JSON of another service"


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (403, FORBIDDEN, 'answers with error 403 (the page "Access denied")'),
        (407, "", "answers with error 407"),
        (404, "404 page not found", "answers with error 404"),
        (401, SIGN_IN, 'answers with error 401 (the page "Sign in & go")'),
        (200, SIGN_IN, 'is no W&B server: it answers with the page "Sign in & go"'),
        (200, "<body>", "is no W&B server: it answers with a page without a title"),
        (200, "It works!\n", 'is no W&B server: it answers with "It works!"'),
        (200, "", 'is no W&B server: it answers with ""'),
        (200, "[" * 60_000, f'is no W&B server: it answers with "{"[" * 57}..."'),
        (200, '{"ok": true}', OTHER),
        (200, "[]", OTHER),
        (200, '{"data": [1, 2]}', OTHER),
        (200, '{"data": {"name": "x"}}', OTHER),
        (200, '{"errors": ["not found"]}', OTHER),
        (200, NO_VIEWER, "refuses the API key"),
        (200, ERRORS, 'answers with the error "permission denied"'),
        (200, '{"data": {"viewer": {"id": "VXNlcg=="}}}', None),
    ],
)
def test_only_the_answer_of_a_wandb_server_counts(status: int, body: str, reason: str | None) -> None:
    with stranger(status, body) as server:
        assert unreachable_reason(server.url, api_key="0" * 40, seconds=10) == reason


@pytest.mark.parametrize("body", [NO_VIEWER, ERRORS])
def test_a_server_may_know_nobody_if_no_key_is_sent(body: str) -> None:
    with stranger(200, body) as server:
        assert unreachable_reason(server.url, api_key=None, seconds=10) is None


def test_a_redirection_to_a_login_page() -> None:
    with stranger(302, SIGN_IN, Location="/login") as server:
        reason = unreachable_reason(server.url, api_key="0" * 40, seconds=10)
    assert reason == 'is no W&B server: it answers with the page "Sign in & go"'


def test_another_host_never_sees_the_key() -> None:
    with stranger(200, SIGN_IN) as other:
        moved = other.url.replace("127.0.0.1", "localhost")
        for status in (302, 307):
            with stranger(status, "", Location=f"{moved}/graphql") as server:
                assert unreachable_reason(server.url, api_key="0" * 40, seconds=10) is not None
                assert server.keys[0] is not None
    assert other.keys == [None, None]


def test_a_server_that_has_moved_on_its_host_is_followed() -> None:
    with serve() as double, stranger(308, "", Location=f"{double.url}/graphql") as server:
        assert unreachable_reason(server.url, api_key="0" * 40, seconds=10) is None
        assert double.operations == ["Viewer"]


def test_a_server_that_closes_the_connection() -> None:
    with stranger(0) as server:
        reason = unreachable_reason(server.url, api_key="0" * 40, seconds=10)
    assert reason is not None
    assert reason.startswith("cannot be reached (")


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
