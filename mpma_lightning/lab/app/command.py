"""The command `app`: opens a run, and serves its page to this computer until Ctrl-C."""

import argparse
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from data_modules.errors import UserError, expect
from data_modules.yaml_files import read_yaml
from mpma_lightning.cli.main import PROG
from mpma_lightning.lab.app.serve import private, serving

if TYPE_CHECKING:
    from mpma_lightning.lab.app.viewer import Viewer


def main(argv: Sequence[str]) -> None:
    """``RUN [--store DIR] [--split S] [--reports N] [--prompts FILE] [--tokenizer FOLDER] …``; see ``--help``.

    Raises:
        UserError: no such run or store, a checkpoint that reads no text, Gradio is not installed, or the port is taken.
    """
    options = _options(argv)
    expect(options.reports >= 1, "--reports", options.reports, "1 or more")
    if find_spec("gradio") is None:
        raise UserError("the page needs Gradio, which is not installed: pip install 'mpma-lightning[app]'")
    with _stopping_alike(), private():
        viewer = open_viewer(options)
        from mpma_lightning.lab.app.page import LOOK, layout

        with serving(layout(viewer), LOOK, options.port) as address:
            print(f"{address} shows {viewer.name}; Ctrl-C closes it", flush=True)
            try:
                Event().wait()
            except KeyboardInterrupt:
                return


def open_viewer(options: argparse.Namespace) -> "Viewer":
    """The answers of the run that ``options`` name.

    Raises:
        UserError: no such run or store, or a checkpoint that compares no texts with images and answers no questions.
    """
    from mpma_lightning.inference import load
    from mpma_lightning.lab.app.reports import Reports, of_run, of_store
    from mpma_lightning.lab.app.viewer import Viewer
    from mpma_lightning.runs.folder import record_beside

    model = load(options.run, options.device, options.tokenizer)
    reports, record = None, record_beside(model.path)
    config = read_yaml(record) if record else {}
    prompts = options.prompts or ((config.get("model") or {}).get("init_args") or {}).get("prompts") or "chest_xray"
    if options.store is not None:
        store = of_store(options.store)
        reports = Reports(model, lambda: store, options.split, options.reports)
    elif record is not None:
        reports = Reports(model, partial(of_run, record, options.trust), options.split, options.reports)
    viewer = Viewer(model, (record.parent if record else options.run).resolve().name, prompts, reports)
    if viewer.lacks("place") and viewer.lacks("answer"):
        raise UserError(
            f"{model.path} holds {', '.join(model.parts)}; the page needs local or global alignment of images and "
            "texts, or a head for answers"
        )
    return viewer


@contextmanager
def _stopping_alike() -> Iterator[None]:
    """SIGTERM closes the page as Ctrl-C does, so that what lies in its temporary folder is deleted."""

    def leave(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=f"{PROG} app",
        description="Serves a page to this computer: choose an image; see scores of classes, the place of a phrase, "
        "answers, and the nearest reports. Nothing is sent or kept.",
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="run folder, checkpoint, or weights of another code base")
    parser.add_argument("--store", metavar="DIR", type=Path, help="prepared store of reports (default: the run's data)")
    parser.add_argument(
        "--split", choices=("train", "val", "test", "all"), default="test", help="of the reports (default: test)"
    )
    parser.add_argument(
        "--reports", metavar="N", type=int, default=2000, help="embed at most so many, spread evenly (default: 2000)"
    )
    parser.add_argument("--prompts", metavar="FILE", help="of the classes (default: those of the run, else chest_xray)")
    parser.add_argument("--tokenizer", metavar="FOLDER", help="for a checkpoint without one")
    parser.add_argument("--device", help="such as cpu or cuda:1 (default: a graphics card if there is one)")
    parser.add_argument("--port", type=int, help="default: the first free one from 7860")
    parser.add_argument("--trust", action="store_true", help="the run's config may name classes of any package")
    return parser.parse_args(list(argv))
