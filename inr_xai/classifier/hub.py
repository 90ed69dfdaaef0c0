"""Are weights at hand, and if not, does the hub answer? Asked before a download, whose retries would take a minute."""

import threading
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlparse

import torch

from inr_xai.errors import UserError

PATIENCE = 6.0  # seconds
REMEDY = "give a local file with classifier.checkpoint=PATH, or set classifier.pretrained=false for random weights"


def require_reachable(url: str, name: str) -> None:
    """Raises UserError within seconds where the server of `url` does not answer; takes the environment's proxies."""
    parts = urlparse(url)
    server = f"{parts.scheme}://{parts.netloc}"
    answer: list[str] = []
    thread = threading.Thread(target=lambda: answer.append(knock(server)), daemon=True)
    thread.start()
    thread.join(PATIENCE)
    reason = answer[0] if answer else f"no answer within {PATIENCE:g} seconds"
    if reason:
        raise UserError(
            f"the weights of {name!r} are not on this computer and {server} is out of reach ({reason}); {REMEDY}"
        )


def knock(server: str) -> str:
    """Empty where the server answers anything at all, else why it does not."""
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


def require_online(name: str) -> str:
    """The address of Hugging Face's hub, or its mirror. Raises UserError where it is switched off or out of reach."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise UserError(
            f"the weights of {name!r} are not on this computer and HF_HUB_OFFLINE forbids the hub; {REMEDY}"
        )
    require_reachable(constants.ENDPOINT, name)
    return str(constants.ENDPOINT)


def hub_file(repository: str, names: tuple[str, ...]) -> Path | None:
    """The first of these files of a hub repository ("owner/name@revision") that an earlier download left here."""
    from huggingface_hub import try_to_load_from_cache

    repo, _, revision = repository.partition("@")
    found = (try_to_load_from_cache(repo, name, revision=revision or None) for name in names)
    return next((Path(path) for path in found if isinstance(path, str)), None)


def torch_hub_file(url: str) -> Path | None:
    """The file that torch.hub keeps of `url`, where it is here."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name
    return path if path.is_file() else None
