"""Whether a server answers, found out in a few seconds whatever the network does."""

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

_QUESTION = json.dumps({"query": "query Viewer { viewer { id } }"}).encode()


def unreachable_reason(url: str, *, api_key: str | None, seconds: float) -> str | None:
    """Why the W&B server at `url` cannot be used, as the end of a sentence; None where it answers.

    The question is asked in a daemon thread: a slow name server or an address that swallows packets costs `seconds`.
    """
    found: list[str | None] = []
    asker = threading.Thread(target=lambda: found.append(_ask(url, api_key, seconds)), daemon=True)
    asker.start()
    asker.join(seconds)
    return found[0] if found else f"did not answer within {seconds:g} s"


def stored_key(url: str) -> str | None:
    """The API key that `wandb login` stored for the server at `url`, None where there is none."""
    home = Path.home()
    path = Path(os.environ.get("NETRC") or (home / ".netrc" if (home / ".netrc").exists() else home / "_netrc"))
    try:
        found = netrc.netrc(path.expanduser()).authenticators(urlsplit(url).netloc)
    except (OSError, netrc.NetrcParseError):
        return None
    return found[2] if found else None


def _ask(url: str, api_key: str | None, seconds: float) -> str | None:
    """One GraphQL question, as W&B's own client asks it first."""
    headers = {"Content-Type": "application/json", "User-Agent": "inr_xai"}
    if api_key is not None:
        headers["Authorization"] = "Basic " + b64encode(f"api:{api_key}".encode()).decode()
    try:
        request = urllib.request.Request(f"{url.rstrip('/')}/graphql", data=_QUESTION, headers=headers)
        with urllib.request.urlopen(request, timeout=seconds) as answer:
            answer.read(1)
    except urllib.error.HTTPError as error:
        return _refusal(error.code, has_key=api_key is not None)
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLError):
            return None  # certificates are W&B's own affair: it may know an authority that we do not
        return f"cannot be reached ({error.reason})"
    except (OSError, http.client.HTTPException, ValueError) as error:
        return f"cannot be reached ({error})"
    return None


def _refusal(code: int, *, has_key: bool) -> str | None:
    """What an HTTP error code means; None where W&B's own client may know better."""
    if code == http.HTTPStatus.UNAUTHORIZED and has_key:
        return "refuses the API key"
    return f"answers with error {code}" if code >= http.HTTPStatus.INTERNAL_SERVER_ERROR else None
