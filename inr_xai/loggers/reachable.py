"""Whether a W&B server answers: the answer is there within a few seconds, whatever the network does.

Only what W&B's own server would answer counts. A proxy or the login page of a network answers, too, and takes nothing.
"""

import html
import http.client
import json
import netrc
import os
import re
import ssl
import threading
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

PROBE_SECONDS = 3.0
"""So long, in seconds, a server may take to answer."""
_QUERY = json.dumps({"query": "query Viewer { viewer { id } }"}).encode()
_LONGEST_ANSWER = 65_536
_SHOWN = 60
"""Of a page's title or an error's message, so many characters are shown."""


def server_check() -> Callable[[], str | None]:
    """Returns a function that says why W&B's server cannot be used now, as the end of a sentence; None if it can."""
    import wandb

    settings = wandb.setup().settings
    url, key = settings.base_url, None
    if not (os.environ.get("WANDB_IDENTITY_TOKEN_FILE") or settings.identity_token_file):
        key = os.environ.get("WANDB_API_KEY") or settings.api_key or stored_key(url)
        if key is None:
            return lambda: "has no API key (run `wandb login` or set WANDB_API_KEY)"

    def check() -> str | None:
        reason = unreachable_reason(url, api_key=key, seconds=PROBE_SECONDS)
        return None if reason is None else f"at {url} {reason}"

    return check


def unreachable_reason(url: str, *, api_key: str | None, seconds: float) -> str | None:
    """Returns why the W&B server at `url` cannot be used, as the end of a sentence; None if it answers.

    The request is made in a daemon thread: a slow name server or an address that swallows packets costs `seconds`.
    """
    results: list[str | None] = []
    thread = threading.Thread(target=lambda: results.append(_request(url, api_key, seconds)), daemon=True)
    thread.start()
    thread.join(seconds)
    return results[0] if results else f"did not answer within {seconds:g} s"


def stored_key(url: str) -> str | None:
    """Returns the API key that `wandb login` stored for the server at `url`, or None if there is none."""
    try:
        home = Path.home()
        path = Path(os.environ.get("NETRC") or (home / ".netrc" if (home / ".netrc").exists() else home / "_netrc"))
        login = netrc.netrc(path.expanduser()).authenticators(urlsplit(url).netloc)
    except (OSError, RuntimeError, ValueError, netrc.NetrcParseError):  # a RuntimeError: nobody's home is known
        return None
    return login[2] if login else None


class _Redirect(urllib.request.HTTPRedirectHandler):
    """Follows a server that has moved as W&B's client does, and shows the API key to no other host."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if code in (HTTPStatus.TEMPORARY_REDIRECT, HTTPStatus.PERMANENT_REDIRECT):
            moved = urllib.request.Request(newurl, data=req.data, headers=req.headers)
        else:
            found = super().redirect_request(req, fp, code, msg, headers, newurl)
            if found is None:
                return None
            moved = found
        if urlsplit(newurl).hostname != urlsplit(req.full_url).hostname:
            moved.remove_header("Authorization")
        return moved


def _request(url: str, api_key: str | None, seconds: float) -> str | None:
    """Makes the GraphQL request that W&B's own client makes first; returns why it failed, or None."""
    headers = {"Content-Type": "application/json", "User-Agent": "inr_xai"}
    if api_key is not None:
        headers["Authorization"] = "Basic " + b64encode(f"api:{api_key}".encode()).decode()
    try:
        request = urllib.request.Request(f"{url.rstrip('/')}/graphql", data=_QUERY, headers=headers)
        with urllib.request.build_opener(_Redirect).open(request, timeout=seconds) as answer:
            return _judge(answer.status, answer.read(_LONGEST_ANSWER), has_key=api_key is not None)
    except urllib.error.HTTPError as error:
        return _judge(error.code, _rest(error), has_key=api_key is not None)
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLError):
            return None  # left to W&B's own client, which may know an authority that we do not
        return f"cannot be reached ({_shorten(str(error.reason))})"
    except (OSError, http.client.HTTPException, ValueError) as error:
        return f"cannot be reached ({_shorten(str(error) or type(error).__name__)})"


def _rest(error: urllib.error.HTTPError) -> bytes:
    """Returns what came with an HTTP error, as far as it can be read."""
    try:
        return error.read(_LONGEST_ANSWER)
    except (OSError, http.client.HTTPException):
        return b""


def _judge(status: int, body: bytes, *, has_key: bool) -> str | None:
    """Returns why an answer is not the one that W&B's server gives to the request, or None if it is."""
    text = body.decode("utf-8", errors="replace")
    page = _page(text)
    if status == HTTPStatus.UNAUTHORIZED and page is None:
        return "refuses the API key" if has_key else None  # without a key, W&B's own client has a token
    if status != HTTPStatus.OK:
        return f"answers with error {status}" + ("" if page is None else f" ({page})")
    if page is not None:
        return f"is no W&B server: it answers with {page}"
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return f'is no W&B server: it answers with "{_shorten(text)}"'
    return _judge_content(content, has_key=has_key)


def _judge_content(content: Any, *, has_key: bool) -> str | None:
    """Returns why JSON is not the answer of W&B's server, or None if it is."""
    fields = content if isinstance(content, dict) else {}
    data, errors = fields.get("data"), fields.get("errors")
    viewer = data.get("viewer") if isinstance(data, dict) else None
    if isinstance(viewer, dict) and viewer.get("id"):
        return None
    if isinstance(errors, list) and errors and all(isinstance(error, dict) and "message" in error for error in errors):
        return f'answers with the error "{_shorten(str(errors[0]["message"]))}"' if has_key else None
    if isinstance(data, dict) and "viewer" in data and viewer is None:
        return "refuses the API key" if has_key else None
    return "is no W&B server: it answers with the JSON of another service"


def _page(text: str) -> str | None:
    """Says what an HTML page is called; None if the text is no such page.

    >>> _page("<html><title>Sign in</title>"), _page("<!DOCTYPE html><p>Hi"), _page('{"data": "<html>"}')
    ('the page "Sign in"', 'a page without a title', None)
    """
    if not re.match(r"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*<(!doctype|html|head|title|body|meta)\b", text, re.I | re.S):
        return None
    title = re.search(r"<title[^>]*>(.*?)(</title|$)", text, re.I | re.S)
    words = _shorten(html.unescape(title[1])) if title else ""
    return f'the page "{words}"' if words else "a page without a title"


def _shorten(text: str) -> str:
    """Returns the beginning of a text on one line, without control characters."""
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
    return line if len(line) <= _SHOWN else line[: _SHOWN - 3].rstrip() + "..."
