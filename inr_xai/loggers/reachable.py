"""Whether a W&B server answers: the answer is there within a few seconds, whatever the network does."""

import http
import http.client
import json
import netrc
import os
import ssl
import threading
import urllib.error
import urllib.request
from base64 import b64encode
from pathlib import Path
from urllib.parse import urlsplit

_QUERY = json.dumps({"query": "query Viewer { viewer { id } }"}).encode()


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
    home = Path.home()
    path = Path(os.environ.get("NETRC") or (home / ".netrc" if (home / ".netrc").exists() else home / "_netrc"))
    try:
        login = netrc.netrc(path.expanduser()).authenticators(urlsplit(url).netloc)
    except (OSError, netrc.NetrcParseError):
        return None
    return login[2] if login else None


def _request(url: str, api_key: str | None, seconds: float) -> str | None:
    """Makes the GraphQL request that W&B's own client makes first; returns why it failed, or None."""
    headers = {"Content-Type": "application/json", "User-Agent": "inr_xai"}
    if api_key is not None:
        headers["Authorization"] = "Basic " + b64encode(f"api:{api_key}".encode()).decode()
    try:
        request = urllib.request.Request(f"{url.rstrip('/')}/graphql", data=_QUERY, headers=headers)
        with urllib.request.urlopen(request, timeout=seconds) as answer:
            answer.read(1)
    except urllib.error.HTTPError as error:
        return _refusal(error.code, has_key=api_key is not None)
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLError):
            return None  # left to W&B's own client, which may know an authority that we do not
        return f"cannot be reached ({error.reason})"
    except (OSError, http.client.HTTPException, ValueError) as error:
        return f"cannot be reached ({error})"
    return None


def _refusal(code: int, *, has_key: bool) -> str | None:
    """Says what an HTTP error code means; None if W&B's own client may still get an answer."""
    if code == http.HTTPStatus.UNAUTHORIZED and has_key:
        return "refuses the API key"
    return f"answers with error {code}" if code >= http.HTTPStatus.INTERNAL_SERVER_ERROR else None
