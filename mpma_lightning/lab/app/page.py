"""The layout of the page, in Gradio."""

from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import Any

import gradio

from data_modules.errors import UserError
from mpma_lightning.lab.app import html
from mpma_lightning.lab.app.viewer import Answer, Viewer

CSS = """
.gradio-container h2 {margin: 1.25rem 0 .25rem;} .gradio-container p {margin: .25rem 0;}
.gradio-container img {max-width: 100%; height: auto; display: block; margin: 0;}
.gradio-container figure {margin: 0;} figure.film img {max-height: 26rem;}
.gradio-container figcaption {margin-top: .5rem;}
.gradio-container .aside {opacity: .8; font-size: .85rem; overflow-wrap: anywhere;}
table.values {width: 100%; border-collapse: collapse;} table.values th {text-align: left;}
.gradio-container table.values :is(th, td) {border: 0; border-bottom: 1px solid #8884; padding: .2rem .4rem;}
table.values td {width: 32%;}
.gradio-container ol.reports {list-style: none; margin: 0; padding: 0;}
.gradio-container ol.reports li {display: flex; gap: 1rem; margin: 1rem 0; padding: 0; align-items: flex-start;}
ol.reports li::marker {content: none;} ol.reports img {width: 8rem; flex: none;}
.problem {border-left: .25rem solid #D55E00; padding-left: .75rem; overflow-wrap: anywhere;}
.answer {min-height: 2rem;}
@media (min-width: 768px) {.looked-at {position: sticky; top: 1rem; align-self: flex-start;}}
"""
LOOK = {"css": CSS, "theme": gradio.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"])}
"""With fonts of this computer."""
HEAD = """<h1>{name}</h1><p>{said}.</p><p><strong>For research, not for clinical use.</strong> This page is served to
this computer only. Nothing leaves it and nothing is kept: images that you choose are deleted when it is closed in the
terminal.</p>"""
FILES = "Image: PNG, JPEG, TIFF or DICOM"


@dataclass(frozen=True)
class Part:
    """A question of the page: a box for words (none without ``label``), a button, and a place for the answer."""

    title: str
    answer: Answer
    button: str
    render: Callable[[Any], str]
    label: str = ""
    example: str = ""
    note: str = ""


PARTS = (
    Part("Scores without training", "scores", "Score", html.table, "Classes, separated by commas",
         note="Similarity to what means present, less that to what means absent. No probability; 0 is no threshold."),
    Part("Where is it?", "place", "Show", html.figure, "Phrase", "left pleural effusion"),
    Part("Question", "answer", "Ask", html.table, "Question", "is there an effusion?"),
    Part("Nearest reports", "nearest", "Search", html.reports,
         note="The first search reads and embeds the reports, which takes a while."),
)  # fmt: skip


def layout(viewer: Viewer) -> gradio.Blocks:
    """The page of ``viewer``. Scores follow the image; the other answers wait for their button."""
    with gradio.Blocks(title=f"{viewer.name}: MPMA-Lightning", analytics_enabled=False) as page:
        gradio.HTML(HEAD.format(name=escape(viewer.name), said=escape(viewer.said)))
        with gradio.Row():
            with gradio.Column(scale=2, elem_classes="looked-at"):
                file = gradio.File(label=FILES, file_count="single", type="filepath")
                film = gradio.HTML()
            with gradio.Column(scale=3):
                made = {part.answer: _part(part, viewer, file) for part in PARTS if not _refused(part, viewer)}
        places = [place for _, place, _ in made.values()]

        def look(path: str | None, *words: str) -> list[str]:
            shown = [""] * (1 + len(places))
            if path is not None:
                try:
                    shown[0] = html.film(viewer.film(path))
                    if "scores" in made:
                        shown[1] = made["scores"][2](path, *words)
                except UserError as error:
                    shown[0] = html.problem(str(error))
            return shown

        given = made["scores"][0] if "scores" in made else [file]
        _on(file.change, look, given, [film, *places])
    return page


def _refused(part: Part, viewer: Viewer) -> bool:
    """Its heading with its note, or with a line that says why it cannot be answered; and whether it cannot."""
    lacking = viewer.lacks(part.answer)
    gradio.HTML(f'<h2>{part.title}</h2><p class="aside">{escape(lacking or part.note)}</p>')
    return bool(lacking)


def _part(part: Part, viewer: Viewer, file: Any) -> tuple[list[Any], Any, Callable[..., str]]:
    """Its box or button; what its answer is given, where it is shown, and the function that answers."""
    given: list[Any] = [file]
    if part.label:
        value = viewer.classes if part.answer == "scores" else ""
        box = gradio.Textbox(value, label=part.label, placeholder=part.example, max_lines=8, submit_btn=part.button)
        given.append(box)
        trigger = box.submit
    else:
        trigger = gradio.Button(part.button, size="md").click
    place, answer = gradio.HTML(elem_classes="answer"), _answer(part.render, getattr(viewer, part.answer))
    _on(trigger, answer, given, [place])
    return given, place, answer


def _on(trigger: Callable[..., Any], function: Callable[..., Any], given: list[Any], shown: list[Any]) -> Any:
    """One answer is computed at a time, and none has an address of its own."""
    return trigger(function, given, shown, concurrency_id="model", concurrency_limit=1, api_visibility="private")


def _answer(render: Callable[[Any], str], answer: Callable[..., Any]) -> Callable[..., str]:
    def answered(*given: Any) -> str:
        try:
            return render(answer(*given))
        except UserError as error:
            return html.problem(str(error))

    return answered
