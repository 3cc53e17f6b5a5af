"""Numbers that no type rules out: one line that names the argument."""

from collections.abc import Callable
from functools import partial

import pytest

from data_modules.chexpert import CheXpertDataModule
from data_modules.covidx import COVIDxDataModule
from data_modules.errors import UserError
from mpma_lightning.objectives import Objectives
from mpma_lightning.objectives.global_alignment import GlobalAlignmentOptions
from mpma_lightning.objectives.match_ranking import MatchRankingOptions
from mpma_lightning.tasks.pretraining import PretrainingTask
from mpma_lightning.tasks.retrieval import RetrievalTask
from mpma_lightning.tasks.segmentation import SegmentationTask
from mpma_lightning.tasks.zero_shot import ZeroShotTask

TINY = {"backbone": "mpma_vit_t16"}
NEGATIVE = Objectives(global_alignment=GlobalAlignmentOptions(weight=-1.0))


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (partial(SegmentationTask, **TINY, threshold=1.5), r"model\.threshold is 1\.5; expected a probability"),
        (partial(SegmentationTask, **TINY, threshold=0.0), r"model\.threshold is 0\.0; expected a probability"),
        (partial(ZeroShotTask, **TINY, temperature=0.0), r"model\.temperature is 0\.0; expected more than 0"),
        (partial(CheXpertDataModule, "root", val_share=0.0), r"data\.val_share is 0\.0; expected a share"),
        (partial(CheXpertDataModule, "root", val_share=1.0), r"data\.val_share is 1\.0; expected a share"),
        (partial(COVIDxDataModule, "root", val_share=-0.2), r"data\.val_share is -0\.2; expected a share"),
        (
            partial(PretrainingTask, **TINY, objectives=NEGATIVE),
            r"model\.objectives\.global_alignment\.weight is -1\.0",
        ),
        (partial(RetrievalTask, **TINY, contrast=GlobalAlignmentOptions(weight=-1)), r"model\.contrast\.weight is -1"),
        (partial(RetrievalTask, **TINY, matching=MatchRankingOptions(weight=-1)), r"model\.matching\.weight is -1"),
    ],
)
def test_error_numbers_out_of_range(make: Callable[[], object], line: str) -> None:
    with pytest.raises(UserError, match=f"^{line}"):
        make()
