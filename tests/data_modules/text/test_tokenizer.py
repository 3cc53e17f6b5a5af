"""Tokenisers: determinism, round trips, words, loading."""

import hashlib
import json
import re
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

from data_modules.errors import UserError
from data_modules.text.openi_reports import read_openi
from data_modules.text.sections import clean
from data_modules.text.tokenizer import SPECIAL, TextOptions, Tokenizer

TEXTS = [
    "The heart is normal in size. No pleural effusion or pneumothorax.",
    "Small right-sided effusion, 1.5 cm. The ___ is unchanged.",
    "Température 38°C; café au lait – naïve.",
] * 5


def squash(text: str) -> str:
    """Lower case without accents, white space and control characters: what a round trip must keep."""
    text = unicodedata.normalize("NFD", text.lower())
    return "".join(c for c in text if unicodedata.category(c) not in ("Mn", "Cc", "Cf") and not c.isspace())


def test_smoke() -> None:
    ids, mask, words = Tokenizer.train(TEXTS, 400).encode("The heart", 8)
    assert len(ids) == len(mask) == len(words) == 8 and sum(mask) >= 4


def test_value_the_layout_of_a_text() -> None:
    tokenizer = Tokenizer.train(TEXTS, 600)
    ids, mask, words = tokenizer.encode("The heart is normal.", 12)
    pieces = sum(mask) - 2
    assert ids[0] == tokenizer.cls_id and ids[pieces + 1] == tokenizer.sep_id
    assert ids[pieces + 2 :] == [tokenizer.pad_id] * (10 - pieces)
    assert words[0] == words[pieces + 1] == -1 and set(words[pieces + 2 :]) <= {-1}
    assert [w for w in dict.fromkeys(words) if w >= 0] == [0, 1, 2, 3]
    assert tokenizer.decode(ids) == "the heart is normal ."


def test_value_words_are_those_with_letters_or_digits() -> None:
    tokenizer = Tokenizer.train(TEXTS, 600)
    text = "an x-ray of ___, 1.5 cm (unseenword)."
    ids, _, words = tokenizer.encode(text, 64)
    spelt: dict[int, str] = {}
    for token, word in zip(ids, words, strict=True):
        if word >= 0:
            spelt[word] = spelt.get(word, "") + tokenizer.decode([token]).removeprefix("##")
    assert list(spelt.values()) == ["an", "x", "ray", "of", "1", "5", "cm", "unseenword"]
    assert list(spelt) == list(range(8))
    assert "___" in tokenizer.decode(ids).split() and tokenizer.unk_id not in ids


def test_value_long_texts_are_cut() -> None:
    tokenizer = Tokenizer.train(TEXTS, 400)
    ids, mask, words = tokenizer.encode("heart " * 50, 10)
    assert len(ids) == 10 and ids[-1] == tokenizer.sep_id and mask == [1] * 10 and words[-1] == -1
    whole, _, _ = tokenizer.encode("heart " * 50, 200)
    assert ids[:9] == whole[:9]


def test_value_training_is_the_same_in_every_process(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    texts = [f"word{n % 37} is{n % 11}like {n % 5}ness é{n % 3}xx" for n in range(300)]
    script.write_text(
        "import json, sys\nfrom data_modules.text.tokenizer import Tokenizer\n"
        f"sys.stdout.write(Tokenizer.train(json.loads({json.dumps(json.dumps(texts))}), 330, 1).to_json())"
    )
    runs = [subprocess.run([sys.executable, script], capture_output=True, check=True).stdout for _ in range(3)]
    here = Tokenizer.train(texts, 330, 1).to_json().encode()
    assert {hashlib.md5(run).hexdigest() for run in runs} == {hashlib.md5(here).hexdigest()}


def test_value_json_round_trip() -> None:
    tokenizer = Tokenizer.train(TEXTS, 500)
    again = Tokenizer.from_json(tokenizer.to_json())
    assert again.to_json() == tokenizer.to_json() and len(again) == len(tokenizer)
    assert [again.encode(text, 32) for text in TEXTS] == [tokenizer.encode(text, 32) for text in TEXTS]
    with pytest.raises(UserError, match="not a tokenizers JSON"):
        Tokenizer.from_json("{}")


def test_value_every_character_round_trips() -> None:
    tokenizer = Tokenizer.train(TEXTS, 400)
    for text in TEXTS:
        ids, _, _ = tokenizer.encode(text, 256)
        assert tokenizer.unk_id not in ids and squash(tokenizer.decode(ids)) == squash(text)


def test_value_folders(tmp_path: Path) -> None:
    trained = Tokenizer.train(TEXTS, 500)
    (tmp_path / "tokenizer.json").write_text(trained.to_json(), encoding="utf-8")
    assert Tokenizer.load(str(tmp_path)).to_json() == trained.to_json()
    assert Tokenizer.load(str(tmp_path / "tokenizer.json")).to_json() == trained.to_json()
    vocabulary = tmp_path / "vocabulary"
    vocabulary.mkdir()
    words = ["the", "heart", "is", "normal", "No", ".", "eff", "##usion"]
    (vocabulary / "vocab.txt").write_text("\n".join([*SPECIAL, *words]) + "\n")
    loaded = Tokenizer.make(TextOptions(tokenizer=str(vocabulary)), ["The heart is normal."])
    ids, _, _ = loaded.encode("The heart is normal effusion.", 16)
    assert loaded.unk_id not in ids and loaded.decode(ids) == "the heart is normal effusion ."
    assert loaded.unk_id in loaded.encode("No", 8)[0]
    (vocabulary / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    assert loaded.unk_id not in Tokenizer.load(str(vocabulary)).encode("No", 8)[0]


def test_value_hub_layout_folder(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    vocabulary = {word: i for i, word in enumerate([*SPECIAL, "heart", "normal", "##ly"])}
    transformers.BertTokenizer(vocab=vocabulary).save_pretrained(tmp_path)
    loaded = Tokenizer.load(str(tmp_path))
    assert loaded.decode(loaded.encode("Heart normally", 8)[0]) == "heart normally"


def test_error(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("\n".join(SPECIAL))
    with pytest.raises(UserError, match=r"turns \d+ of \d+ pieces into \[UNK\]"):
        Tokenizer.make(TextOptions(tokenizer=str(tmp_path)), TEXTS)
    (tmp_path / "vocab.txt").write_text("[PAD]\nheart")
    with pytest.raises(UserError, match=r"\[UNK\]"):
        Tokenizer.load(str(tmp_path))
    with pytest.raises(UserError, match=r"text\.tokenizer: found"):
        Tokenizer.load(str(tmp_path / "absent"))
    with pytest.raises(UserError, match="vocab_size: found 50"):
        Tokenizer.train(TEXTS, 50)
    with pytest.raises(UserError, match="max_tokens"):
        Tokenizer.make(TextOptions(max_tokens=2), TEXTS)


def test_value_openi_sentences_round_trip(sample_data: Path) -> None:
    """decode(encode(x)) keeps every character of 3,955 real reports, up to lower case, accents and white space."""
    reports = read_openi(sample_data / "openi_reports" / "NLMCXR_reports.tgz")
    texts = [clean(f"{report['findings']} {report['impression']}") for report in reports]
    sentences = [sentence for text in texts for sentence in re.split(r"(?<=\.) ", text) if sentence]
    tokenizer = Tokenizer.train(texts, 4096)
    assert len(texts) == 3955 and len(sentences) > 15_000
    for sentence in sentences:
        ids, mask, _ = tokenizer.encode(sentence, 512)
        assert mask[-1] == 0 and tokenizer.unk_id not in ids
        assert squash(tokenizer.decode(ids)) == squash(sentence)


def test_value_min_count_keeps_names_dates_and_numbers_out_of_the_vocabulary() -> None:
    """A name in four texts of one patient is one patient's; pieces of single characters stay, so nothing is [UNK]."""
    texts = [f"No effusion for Kowalczyk on 2{n}31. [**Nowakowska**] ___ saw the patient." for n in range(4)]
    texts += ["No effusion is seen in the patient. [**Nowakowska**] 2031"] * 6
    patients = ["one"] * 4 + [f"p{n}" for n in range(6)]
    every = json.loads(Tokenizer.train(texts, 400, 1).to_json())["model"]["vocab"]
    assert {"kowalczyk", "nowakowska", "2031", "effusion"} <= every.keys()
    tokenizer = Tokenizer.train(texts, 400, 3, patients)
    learnt = json.loads(tokenizer.to_json())["model"]["vocab"]
    assert {"effusion", "patient", "seen"} <= learnt.keys()
    spelt = {piece.removeprefix("##") for piece in learnt if piece not in (*SPECIAL, "___")}
    assert not [
        piece for piece in spelt if len(piece) > 2 and (re.search(r"\d", piece) or piece in "kowalczyk nowakowska")
    ]
    ids, _, _ = tokenizer.encode("Kowalczyk 2031", 64)
    assert tokenizer.unk_id not in ids and tokenizer.decode(ids) == "kowalczyk 2031"
    assert "kowalczyk" in json.loads(Tokenizer.train(texts, 400, 3).to_json())["model"]["vocab"]  # four texts


@pytest.mark.parametrize(("patients", "whole"), [(4, False), (5, True)])
def test_value_by_default_whole_pieces_are_words_of_five_patients(patients: int, whole: bool) -> None:
    """However often a patient's reports repeat a word; numbers and bracketed names are never whole pieces."""
    text = "Zygmuntowska zygmuntowska, room 7391, seen by [**Brackenridge**], born [**1931-07-04**]."
    texts = [text for _ in range(patients) for _ in range(3)] + ["The heart is normal."] * 9
    owners = [f"p{n}" for n in range(patients) for _ in range(3)] + [f"q{n}" for n in range(9)]
    vocabulary = json.loads(Tokenizer.make(TextOptions(), texts, owners).to_json())["model"]["vocab"]
    assert ("zygmuntowska" in vocabulary) == whole and "heart" in vocabulary
    pieces = [piece.removeprefix("##") for piece in vocabulary if len(piece.removeprefix("##")) > 1]
    assert not [p for p in pieces if re.search(r"\d", p) or (len(p) > 2 and p in "brackenridge")]
    assert whole or not [p for p in pieces if len(p) > 2 and p in "zygmuntowska"]


def test_error_training_is_bounded() -> None:
    for text in ("x" * 100_000, "short " * 300 + "ab" * 501):
        with pytest.raises(UserError, match=r"a word of (100,000|1,002) characters \((x|ab).*expected at most 1,000;"):
            Tokenizer.train(["the heart", text])
    assert len(Tokenizer.train(["the heart " * 20_000, "-" * 5000], 200)) <= 200
    with pytest.raises(UserError, match=r"text.vocab_size: found 1000000000, expected at most 1,000,000"):
        Tokenizer.train(TEXTS, 10**9)
    with pytest.raises(UserError, match=r"text.min_count: found 0, expected 1 or more"):
        Tokenizer.make(TextOptions(min_count=0), TEXTS)
