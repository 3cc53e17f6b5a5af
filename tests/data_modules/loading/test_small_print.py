"""What is said of small data before a training."""

from pathlib import Path

import pytest
from PIL import Image

from data_modules.loading.small_print import small_print
from data_modules.pairs import PairsDataModule


def pairs(folder: Path, splits: dict[str, int], words: int = 4, **options: object) -> PairsDataModule:
    rows = ["image,text,split"]
    (folder / "images").mkdir()
    for split, count in splits.items():
        for number in range(count):
            name = f"{split}{number}.png"
            Image.new("L", (8, 8), number).save(folder / "images" / name)
            rows.append(f"{name},{' '.join(['lung'] * (words if number % 2 else 2))} {split} {number},{split}")
    (folder / "pairs.csv").write_text("\n".join(rows))
    data = PairsDataModule(str(folder), image_size=8, num_workers=0, **options)  # type: ignore[arg-type]
    data.setup("fit")
    return data


def test_value_few_samples_and_a_ragged_batch(tmp_path: Path) -> None:
    said = [*small_print(pairs(tmp_path, {"train": 14, "val": 3, "test": 2}, batch_size=2), processes=2, accumulate=2)]
    assert len(said) == 3
    assert said[0].startswith("an epoch leaves out 2 of 14 training samples") and "batch of 4" in said[0]
    assert said[1] == "the last step of an epoch has 1 of 2 accumulated batches"
    assert said[2].startswith("3 validation samples: their metrics")


def test_value_texts_that_are_cut(tmp_path: Path) -> None:
    from data_modules.text.tokenizer import TextOptions

    text = TextOptions(max_tokens=24, min_count=1)
    data = pairs(tmp_path, {"train": 8, "val": 20, "test": 2}, words=40, batch_size=4, text=text)
    assert [*small_print(data, 1, 1)] == ["data.text.max_tokens 24 cuts 50% of the training texts"]


@pytest.mark.parametrize("splits", [{"train": 8, "test": 4}])
def test_value_no_validation(tmp_path: Path, splits: dict[str, int]) -> None:
    assert next(iter(small_print(pairs(tmp_path, splits, batch_size=4), 1, 1))).startswith("no validation samples")
