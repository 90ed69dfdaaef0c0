"""The page itself, drawn by Gradio: its fields, what happens when they change, and its server. It asks no other server.

No other module imports Gradio.
"""

import os
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

from inr_xai.app.answer import DOWNLOADS
from inr_xai.app.desk import Desk
from inr_xai.app.photo import MOST_BYTES
from inr_xai.app.question import AS_GIVEN, Fields, preset_names
from inr_xai.app.view import START, sight_of, views_of
from inr_xai.app.words import hint, scene_buttons
from inr_xai.errors import UserError
from inr_xai.limits import AUTO

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # it reads this when it is imported
try:
    import gradio as gr
except ImportError as error:
    raise UserError(
        "inr-xai app needs the package gradio, which cannot be imported; install it with: pip install 'inr-xai[app]'"
    ) from error

TITLE = "inr_xai"
ABOUT = (
    "# Which part of a photo does the classifier need to see?\n"
    "Masks of exactly the area that you ask for, drawn while you watch. Further explanations share no pixel with the "
    "earlier ones. Photos stay on the computer that runs this page."
)
ON_SCENE = """
element.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button) trigger("select", { index: Number(button.dataset.index) });
});
"""
"""What the browser does when a scene is clicked."""
ON_ANSWER = """
watch("value", () => {
  const frame = element.querySelector("iframe");
  if (!frame) return;
  frame.addEventListener("load", () => {
    const body = frame.contentDocument.body;
    const fit = () => { frame.style.height = `${body.scrollHeight + 2}px`; };
    new ResizeObserver(fit).observe(body);
    fit();
  });
});
"""
"""What it does with an answer: the frame is as high as its page."""
QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": None}
"""Of every event: Gradio's veil would hide what forms, and the functions are for this page alone."""


def build_page(desk: Desk, *, accelerator: bool = False) -> gr.Blocks:
    """Returns the page with its events.

    Args:
        accelerator: whether the classifiers compute on one.
    """
    os.environ["GRADIO_TEMP_DIR"] = str(desk.folder / "uploads")  # each component reads this when it is made
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(3600, 24 * 3600)) as page:
        photo = gr.State(None)
        gr.Markdown(ABOUT)
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                file = gr.File(label="Photo", file_types=["image"], height=140, elem_id="photo")
                scenes = gr.HTML(scene_buttons(desk.examples), js_on_load=ON_SCENE, elem_id="scenes")
                asked = _fields(desk, accelerator=accelerator)
                with gr.Row():
                    explain = gr.Button("Explain", variant="primary", elem_id="explain", min_width=120)
                    stop = gr.Button("Stop", variant="stop", interactive=False, elem_id="stop", min_width=120)
            with gr.Column(scale=3, min_width=300):
                sight = gr.HTML(hint(START), elem_id="sight")
                state = gr.HTML("", elem_id="state")
                with gr.Row(elem_id="downloads"):
                    downloads = [
                        gr.DownloadButton(label, visible=False, size="sm", min_width=130)
                        for label in DOWNLOADS.values()
                    ]
        answer = gr.HTML("", js_on_load=ON_ANSWER, elem_id="answer")
        classifier, target = asked[:2]

        def look(path: str | None, name: str) -> tuple[Any, Any]:
            shown, choices = sight_of(desk, path, name)
            return shown, gr.Dropdown(choices, value=choices[0][1] if choices else None)

        def take(event: gr.EventData) -> tuple[Any, Any]:
            return str(desk.examples[int(event.index)][0]), None

        def run(request: gr.Request, *values: Any) -> Iterator[dict[Any, Any]]:
            for view in views_of(desk, Fields(*values), str(request.session_hash)):
                shown = {state: view.state, explain: _usable(not view.works), stop: _usable(view.works)}
                if view.answer is not None:
                    shown[answer] = view.answer
                for button, path in zip(downloads, view.files or (), strict=False):
                    shown[button] = gr.DownloadButton(value=path, visible=path is not None)
                yield shown

        def end(request: gr.Request) -> None:
            desk.line.stop(str(request.session_hash))

        def leave(request: gr.Request) -> None:
            desk.leave(str(request.session_hash))

        looking: dict[str, Any] = {"inputs": [photo, classifier], "outputs": [sight, target], **QUIET}
        file.upload(lambda path: path, file, photo, **QUIET).then(look, **looking)
        file.clear(lambda: None, None, photo, **QUIET).then(look, **looking)
        scenes.select(take, None, [photo, file], **QUIET).then(look, **looking)
        classifier.change(look, **looking)
        explain.click(run, [photo, *asked], [state, answer, explain, stop, *downloads], **QUIET)
        stop.click(end, None, None, **QUIET)
        page.unload(leave)
    return page


def serve(desk: Desk, page: gr.Blocks, *, host: str, port: int | None) -> str:
    """Starts the server of a page in threads of its own, and returns its address.

    Args:
        port: None takes the first free one from 7860 on.

    Raises:
        UserError: the port is not free, or the address is none of this machine.
    """
    os.environ["NO_PROXY"] = ",".join(filter(None, [os.environ.get("NO_PROXY"), host, "localhost", "127.0.0.1"]))
    try:
        _, address, _ = page.queue(default_concurrency_limit=None).launch(
            server_name=host,
            server_port=port,
            share=False,
            quiet=True,
            inbrowser=False,
            prevent_thread_lock=True,
            enable_monitoring=False,
            run_history=False,
            footer_links=[],
            ssr_mode=False,
            mcp_server=False,
            pwa=False,
            max_file_size=MOST_BYTES,
            theme=gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]).set(
                block_info_text_color="*neutral_600"
            ),
            css=(files("inr_xai.app") / "page.css").read_text(encoding="utf-8"),
        )
    except OSError as error:
        where = f"port {port}" if port is not None else "any port from 7860 on"
        raise UserError(
            f"the app cannot be served at {host}, {where} ({error}); give another --host or --port"
        ) from error
    return str(address)


def _fields(desk: Desk, *, accelerator: bool) -> list[Any]:
    """Returns the fields that a question has beside the photo, in the order of `Fields`."""
    method = desk.method
    presets = [(words, name) for name, words in preset_names(accelerator=accelerator).items()]
    numbers = [str(number) for number in sorted({1, 2, 3, 4, 5, method.explanations} - {AUTO})]
    classifier = gr.Dropdown(desk.classifiers.names, label="Classifier", elem_id="classifier")
    target = gr.Dropdown(
        [],
        label="Class",
        info="a name or an index; empty for the predicted one",
        allow_custom_value=True,
        elem_id="class",
    )
    with gr.Accordion("Areas, explanations, preset", open=False, elem_id="more"):
        areas = gr.Textbox(
            ", ".join(f"{area:g}" for area in method.areas),
            label="Areas",
            info="the parts of the input that masks keep, such as 0.05 or 5%",
            elem_id="areas",
        )
        explanations = gr.Radio(
            [*numbers, AUTO],
            value=str(method.explanations),
            label="Explanations",
            info="masks for each area that share no pixel; auto: as many as carry enough",
            elem_id="explanations",
        )
        preset = gr.Radio(presets, value=AS_GIVEN, label="Preset", elem_id="preset")
    return [classifier, target, areas, explanations, preset]


def _usable(usable: bool) -> Any:
    """Returns a change of a button."""
    return gr.Button(interactive=usable)
