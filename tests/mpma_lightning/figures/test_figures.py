"""What the pictures say is true: words, hits, Dice, ranks; which films they show; which loggers get them."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from every_task import build, rows
from hypothesis import given
from hypothesis import strategies as st
from lightning.pytorch.loggers import CSVLogger, MLFlowLogger, TensorBoardLogger, WandbLogger
from matplotlib.figure import Figure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from data_modules.text.tokenizer import Tokenizer
from mpma_lightning.callbacks.figures import Figures
from mpma_lightning.callbacks.picture_loggers import hand_over, sends_away
from mpma_lightning.evaluation.grounding import WHOLE
from mpma_lightning.evaluation.zero_shot import load_prompts
from mpma_lightning.figures import dense
from mpma_lightning.figures.answers import with_failures
from mpma_lightning.figures.canvas import PLAIN, RIGHT, WRONG, canvas, write
from mpma_lightning.figures.pretraining import similarity, spoken
from mpma_lightning.figures.retrieval import Query, images_of_texts, texts_of_images
from mpma_lightning.figures.word_maps import named_findings

REPORT = "Small left pleural effusion. No pneumothorax. The heart is enlarged; effusion again."


@pytest.fixture(autouse=True)
def usual_kind() -> Iterator[None]:
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train([REPORT] * 5, 300, 1)


def texts(figure: Figure) -> list[str]:
    """Every title, label and text of a figure."""
    own = [figure.get_suptitle(), *(t.get_text() for t in figure.texts)]
    for ax in figure.axes:
        own += [ax.get_title(), ax.get_title(loc="left"), ax.get_xlabel(), *(t.get_text() for t in ax.texts)]
    return own


def test_value_named_findings_are_words_of_sentences_that_say_so(tokenizer: Tokenizer) -> None:
    names = load_prompts("chest_xray").named_findings
    told = named_findings(REPORT, tokenizer, names, 99)
    assert told.sentences == "Small left pleural effusion. The heart is enlarged; effusion again."
    ids, _, owners = tokenizer.encode(REPORT, 200)
    spelled = {
        w: tokenizer.decode([i for i, o in zip(ids, owners, strict=True) if o == k]) for w, k in told.places.items()
    }
    assert spelled == {"effusion": "effusion", "enlarged": "enlarged"} and told.places["effusion"] == 3
    assert named_findings(REPORT, tokenizer, names, 5).places == {"effusion": 3}, "words that the model does not read"
    assert not named_findings("No effusion. The lungs are clear.", tokenizer, names, 99).places
    assert names <= load_prompts("chest_xray").finding_words


def test_value_hidden_words_of_a_report(tokenizer: Tokenizer) -> None:
    ids, _, owners = (torch.tensor(x) for x in tokenizer.encode("left effusion is small", 10))
    masked = (owners == 0) | (owners == 1)
    guesses = ids.clone()
    guesses[owners == 1] = ids[owners == 3][0]
    found = spoken(ids, guesses, owners, masked, tokenizer)
    assert found == [("left", RIGHT), ("small [effusion]", WRONG), ("is", PLAIN), ("small", PLAIN)]


@given(st.lists(st.booleans(), min_size=1, max_size=30), st.integers(1, 12))
def test_value_failures_are_half_of_the_cards(right: list[bool], count: int) -> None:
    chosen = with_failures(right, count)
    wrong = sum(not right[i] for i in chosen)
    assert chosen == sorted(set(chosen)) and len(chosen) == min(count, len(right))
    assert wrong >= min(count // 2, right.count(False)) and wrong <= right.count(False)
    assert len(chosen) - wrong >= min(count - count // 2, right.count(True))


def test_value_dice_hits_and_scores_are_written_on_the_films() -> None:
    image, truth, found = torch.zeros(2, 1, 8, 8), torch.zeros(2, 1, 8, 8), torch.zeros(2, 1, 8, 8)
    truth[:, :, :4], found[0, :, 2:6] = 1, 1
    shown = texts(dense.masks(image, truth, found, ["a.png", "b.png"], "hearts"))
    assert "Dice 0.50" in shown and "nothing predicted: Dice 0" in shown and "Films with hearts" in shown
    boxes = torch.tensor([[0.0, 0.0, 4.0, 4.0]] * 2)
    detected = {"boxes": boxes, "scores": torch.tensor([0.2, 0.7]), "labels": torch.tensor([0, 0])}
    weak = {"boxes": boxes[:1], "scores": torch.tensor([0.11]), "labels": torch.tensor([0])}
    real = [{"boxes": boxes[:1], "labels": torch.tensor([0])}] * 2
    shown = texts(dense.boxes(image, real, [detected, weak], ["Mass"]))
    assert "1 annotated, 1 predicted" in shown and "0.70" in shown and "0.20" not in shown
    assert "1 annotated, 0 predicted; the highest is 0.11" in shown and any("at least 0.3" in line for line in shown)
    maps = torch.zeros(2, 2, 2)
    maps[0, 0, 0] = maps[1, 1, 1] = 1
    shown = texts(dense.grounding(image, maps, [boxes[:1]] * 2, ["here", "there"], [WHOLE, WHOLE], [True, False]))
    assert {"hit", "miss", "here", "there"} <= set(shown) and any("1 of 2 are hits" in line for line in shown)


def test_value_similarity_counts_own_reports_ranked_first() -> None:
    image, text, group = torch.eye(3), torch.eye(3)[[0, 2, 1]], torch.tensor([0, 1, 2])
    assert any("1 of 3 films" in line for line in texts(similarity(image, text, group)))
    figure = similarity(image, text, torch.tensor([0, 1, 1]))
    assert any("3 of 3 films" in line for line in texts(figure))
    assert all(float(tick).is_integer() for tick in (*figure.axes[0].get_xticks(), *figure.axes[0].get_yticks()))


def test_value_retrieval_shows_rank_and_own_text() -> None:
    data: Any = [{"image": np.zeros((1, 8, 8), np.uint8), "text": f"report {i}"} for i in range(4)]
    queries = [Query(0, [1, 0], [False, True], 2), Query(3, [1, 2], [False, False], 4)]
    shown = texts(texts_of_images(data, queries, 4, "of the same study"))
    assert "true match: rank 2 of 4" in shown and "true match: rank 4 of 4" in shown
    assert (
        "2. ✓ report 0" in shown
        and "1. ✗ report 1" in shown
        and "own: report 3" in shown
        and "own: report 0" not in shown
    )
    shown = texts(images_of_texts(data, queries, 4, "of the same study"))
    assert "true match: rank 2 of 4" in shown and "2. ✓" in shown and "report 3" in shown


def test_value_running_text_stays_in_its_box() -> None:
    _, axes = canvas(1, 1, 3.0)
    write(axes[0, 0], [(f"word{i}", PLAIN) for i in range(200)], 3.0, 4)
    drawn = axes[0, 0].texts
    assert drawn[-1].get_text() == "…" and {int(t.get_position()[1]) for t in drawn} == {0, 1, 2, 3}
    longest = axes[0, 0].get_xlim()[1]
    assert all(t.get_position()[0] + len(t.get_text()) <= longest for t in drawn)


@pytest.mark.parametrize(("name", "key"), [("segmentation", "mask"), ("detection", "boxes")])
def test_value_the_first_batch_with_the_structure_is_drawn(name: str, key: str, tmp_path: Path) -> None:
    task, batch, trainer, _ = build(name)
    few = rows(batch, [1, 2, 4, 5])
    empty = {key: torch.zeros_like(few[key]) if key == "mask" else [box[:0] for box in few[key]]}
    if key == "boxes":
        empty["box_labels"] = [labels[:0] for labels in few["box_labels"]]
    task.eval().on_validation_start()
    trainer.fast_dev_run, trainer.default_root_dir, trainer.loggers = False, tmp_path, []
    trainer.estimated_stepping_batches = 0
    callback: Any = Figures(samples=2)
    callback.on_validation_start(trainer, task)
    picture = tmp_path / "pictures" / "val_overlay.png"
    for number, each in enumerate((few | empty, few, few)):
        with torch.no_grad():
            outputs = task.validation_step(each, number)
        before = picture.stat().st_mtime_ns if picture.exists() else None
        callback.on_validation_batch_end(trainer, task, outputs, each, number)
        assert picture.exists() == (number > 0)
        assert number < 2 or picture.stat().st_mtime_ns == before


def a_trainer(folder: Path, *loggers: Any) -> Any:
    return SimpleNamespace(
        default_root_dir=folder, loggers=loggers, global_step=7, is_global_zero=True, sanity_checking=False,
        fast_dev_run=False, testing=False,
    )  # fmt: skip


class Client:
    """Of MLflow: notes what it is given."""

    def __init__(self, address: str) -> None:
        self.tracking_uri = address
        self.given: list[Any] = []

    def log_artifact(self, *given: Any) -> None:
        self.given.append(given)


def made(kind: type, **attributes: Any) -> Any:
    """A logger without its package, which need not be installed."""
    logger = type(kind.__name__, (kind,), attributes)
    return object.__new__(logger)


def test_value_loggers_get_pictures_and_servers_only_if_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr("mpma_lightning.callbacks.figures.rank_zero_info", told.append)
    sent: list[Any] = []
    board = TensorBoardLogger(tmp_path, name="", version="")
    wandb = made(WandbLogger, log_image=lambda self, *given: sent.append(given))
    folder, server = Client("file:./mlruns"), Client("https://mlflow.example.org")
    here, there = (made(MLFlowLogger, experiment=client, run_id="r1") for client in (folder, server))
    loggers = (board, wandb, here, there, CSVLogger(tmp_path))
    assert [sends_away(logger) for logger in loggers] == [False, True, False, True, False]
    assert sends_away(made(MLFlowLogger, experiment=Client("databricks")))
    assert not sends_away(made(MLFlowLogger, experiment=Client("sqlite:///runs/a/mlflow.db")))
    task, _, _, _ = build("segmentation")
    draw = lambda *_: {"one": canvas(1, 1)[0]}  # noqa: E731
    for callback in (Figures(), Figures(send=True)):
        callback._keep(a_trainer(tmp_path, *loggers), task, draw)
        callback._keep(a_trainer(tmp_path, *loggers), task, draw)
    picture = tmp_path / "pictures" / "one.png"
    assert picture.is_file() and len(sent) == len(server.given) == 2 and len(folder.given) == 4
    assert sent[0] == ("pictures/one", [str(picture)], 7)
    assert server.given[0] == ("r1", str(picture), "pictures/step_7")
    assert len(told) == 2 and all("sends to a server; Figures with `send: true`" in line for line in told), (
        "once a kind"
    )
    board.finalize("")
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert events.Tags()["images"] == ["pictures/one"] and events.Images("pictures/one")[0].step == 7
    hand_over(CSVLogger(tmp_path), "one", picture, 7)
