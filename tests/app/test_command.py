"""`inr-xai app`: its help, its refusals, what it needs, and what of it `import inr_xai` brings."""

import ast
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

import inr_xai.app
from inr_xai.app import __main__ as command
from inr_xai.app.desk import Desk
from inr_xai.config.programs import Interruption
from tests.helpers.program import status
from tests.test_imports import imported

FOLDER = Path(inr_xai.app.__file__).parent
pytestmark = pytest.mark.usefixtures("command_line")


def without(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    """Lets a package be absent."""
    monkeypatch.setitem(sys.modules, package, None)  # type: ignore[arg-type]
    monkeypatch.delitem(sys.modules, "inr_xai.app.page", raising=False)
    monkeypatch.delattr(inr_xai.app, "page", raising=False)


def test_only_the_page_imports_gradio() -> None:
    importers = [
        file.stem
        for file in FOLDER.glob("*.py")
        if any(name.split(".")[0] == "gradio" for name in imported(ast.parse(file.read_text()), "inr_xai.app.x"))
    ]
    assert importers == ["page"]
    code = "import inr_xai, inr_xai.cli, sys; assert 'gradio' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=FOLDER.parents[1])


def test_without_gradio_it_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    without(monkeypatch, "gradio")
    assert status("app") == 2
    assert capsys.readouterr().err == (
        "error: inr-xai app needs the package gradio, which cannot be imported; install it with: "
        "pip install 'inr-xai[app]'\n"
    )
    assert status("app", "--help") == 0


class Page(ModuleType):
    """Stands for `inr_xai.app.page`, so that no test of this process loads Gradio; its `act` is what serving does.

    Attributes:
        served: the desk and the address of each call.
    """

    def __init__(self) -> None:
        super().__init__("inr_xai.app.page")
        self.served: list[tuple[Desk, str, int | None]] = []
        self.act: Callable[[], str] = interrupt

    def build_page(self, desk: Desk, *, accelerator: bool) -> "Page":
        assert not accelerator
        return self

    def serve(self, desk: Desk, page: "Page", *, host: str, port: int | None) -> str:
        self.served.append((desk, host, port))
        return self.act()

    def close(self) -> None:
        """Does nothing."""


def interrupt() -> str:
    raise Interruption(signal.SIGINT)


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Page:
    page = Page()
    monkeypatch.setitem(sys.modules, page.__name__, page)
    return page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["photo.jpg"], "'photo.jpg' is no option; give KEY=VALUE"),
        (["--checkpoint", "w.pth"], "give --classifier NAME too"),
        (["stps=3"], "did you mean steps"),
        (["--classifier", "timm", "classifier.name=no_such_model", "classifier.pretrained=false"], "no model"),
        (["areas=[2]"], r"areas must lie in (0, 1)"),
    ],
)
@pytest.mark.slow
def test_refusals_come_before_anything_is_served(
    page: Page, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status("app", *arguments) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1
    assert page.served == []


def test_the_given_classifier_comes_first_and_a_signal_ends_all(page: Page) -> None:
    options = ["--classifier", "torchvision:squeezenet1_1", "classifier.pretrained=false", "steps=7"]
    assert status("app", *options, "--host", "0.0.0.0", "--port", "7999", "--preset", "fast", "areas=[0.2]") == 130
    ((desk, host, port),) = page.served
    assert (host, port) == ("0.0.0.0", 7999)
    assert desk.classifiers.names[:2] == ["torchvision:squeezenet1_1", "demo"]
    assert (desk.method.steps, desk.method.decay, desk.method.areas) == (7, 0.5, (0.2,))
    assert not desk.folder.exists()
    assert not desk.line._thread.is_alive()


@pytest.mark.slow
def test_another_address_is_warned_of(
    page: Page, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    page.act = lambda: "http://here/"
    monkeypatch.setattr(command, "wait", interrupt)
    caplog.set_level("INFO")
    for host, warned in (("127.0.0.1", False), ("0.0.0.0", True)):
        caplog.clear()
        assert status("app", "--host", host) == 130
        assert ("there is no password" in caplog.text) is warned
        assert "The page is at http://here/; Ctrl-C ends it." in caplog.text
