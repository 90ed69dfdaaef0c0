"""Whether weights are on this computer, and if not, whether their server answers: failed downloads take a minute."""

import threading
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlparse

import torch

from inr_xai.errors import UserError

PATIENCE = 6.0  # seconds to wait for an answer
REMEDY = "give a local file with classifier.checkpoint=PATH, or set classifier.pretrained=false for random weights"


def require_reachable(url: str, name: str, *, remedy: str = REMEDY) -> None:
    """Raises UserError within seconds if the server of `url` does not answer; uses the proxies of the environment."""
    parts = urlparse(url)
    server = f"{parts.scheme}://{parts.netloc}"
    answer: list[str] = []
    thread = threading.Thread(target=lambda: answer.append(probe(server)), daemon=True)
    thread.start()
    thread.join(PATIENCE)
    reason = answer[0] if answer else f"no answer within {PATIENCE:g} seconds"
    if reason:
        raise UserError(
            f"the weights of {name!r} are not on this computer and {server} is out of reach ({reason}); {remedy}"
        )


def probe(server: str) -> str:
    """Returns why the server does not answer; empty if it answers anything at all."""
    request = urllib.request.Request(server, method="HEAD")
    try:
        urllib.request.urlopen(request, timeout=PATIENCE).close()
    except urllib.error.HTTPError:
        return ""  # an error page is an answer
    except urllib.error.URLError as error:
        return str(error.reason)
    except (OSError, ValueError) as error:
        return str(error)
    return ""


def require_online(name: str, *, remedy: str = REMEDY) -> None:
    """Raises UserError if Hugging Face's hub, or its mirror, is switched off or out of reach."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise UserError(
            f"the weights of {name!r} are not on this computer and HF_HUB_OFFLINE forbids the hub; {remedy}"
        )
    require_reachable(constants.ENDPOINT, name, remedy=remedy)


def hub_file(repository: str, names: tuple[str, ...]) -> Path | None:
    """Returns the first of these files that is here from a download of a hub repository ("owner/name@revision")."""
    from huggingface_hub import try_to_load_from_cache

    repo, _, revision = repository.partition("@")
    paths = (try_to_load_from_cache(repo, name, revision=revision or None) for name in names)
    return next((Path(path) for path in paths if isinstance(path, str)), None)


def torch_hub_file(url: str) -> Path | None:
    """Returns the file that torch.hub keeps for `url`; None if it is not here."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name
    return path if path.is_file() else None
