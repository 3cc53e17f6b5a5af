"""Words and their overlap, as pycocoevalcap 1.2 and its Java tokeniser give them; its values stand here in writing."""

import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from phantom_reports import body, phantom_reports

from mpma_lightning.evaluation.reports.overlap import bleu, bleu_counts, cider, rouge_l
from mpma_lightning.evaluation.reports.words import words

WORDS = {
    "The patient's heart isn't enlarged; pneumonia cannot be excluded.": (
        "the patient 's heart is n't enlarged pneumonia can not be excluded"
    ),
    "Effusion (small) -- stable...": "effusion -lrb- small -rrb- stable",
    "Dr. Smith was called at 3:15 p.m. on 12/13/2012.": "dr. smith was called at 3:15 p.m. on 12/13/2012",
    "50% of ~3 cm, 1,000 mL at the T12-L1 level and/or ___.": "50 % of ~ 3 cm 1,000 ml at the t12-l1 level and/or ___",
    'He said "normal"; S/P CABG & AICD at the 6th rib: 8mm, 1.5 x 6.0 cm.': (
        "he said normal s/p cabg & aicd at the 6th rib 8mm 1.5 x 6.0 cm"
    ),
    "Normal.There is [a] 16.2/24.7 ratio, no. 5 &gt; 4.": "normal.there is -lsb- a -rsb- 16.2 / 24.7 ratio no. 5 > 4",
    "No acute well-expanded disease?": "no acute well-expanded disease",
}
BLEU = [0.31379555978126256, 0.18816113358085218, 0.12316810026118223, 0.0824853517530803]
ROUGE_L, CIDER = 0.21253940858219805, 0.1292432862085416


@pytest.fixture(scope="module")
def pairs() -> tuple[list[str], list[str]]:
    """500 drafts and references: reports of the phantom that have nothing to do with each other."""
    texts = [body(report) for report in phantom_reports(1000, seed=0)]
    return texts[500:], texts[:500]


@pytest.mark.parametrize("text", WORDS)
def test_value_words_as_of_the_penn_treebank(text: str) -> None:
    assert " ".join(words(text)) == WORDS[text]


def test_value_overlap_of_500_pairs(pairs: tuple[list[str], list[str]]) -> None:
    drafts, references = ([words(text) for text in texts] for texts in pairs)
    assert bleu(bleu_counts(drafts, references).sum(0)) == pytest.approx(BLEU, abs=1e-12)
    scores = [rouge_l(*pair) for pair in zip(drafts, references, strict=True)]
    assert np.mean(scores) == pytest.approx(ROUGE_L, abs=1e-12)
    assert cider(drafts, references).mean() == pytest.approx(CIDER, abs=1e-12)


@pytest.mark.skipif(shutil.which("java") is None, reason="pycocoevalcap's tokeniser needs Java")
def test_value_as_pycocoevalcap_where_it_is_installed(pairs: tuple[list[str], list[str]]) -> None:
    package = "pycocoevalcap"
    tokenizer = pytest.importorskip(f"{package}.tokenizer.ptbtokenizer").PTBTokenizer()
    theirs = []
    for texts in pairs:
        found = tokenizer.tokenize({i: [{"caption": text}] for i, text in enumerate(texts)})
        assert [found[i][0].split() for i in range(len(texts))] == [words(text) for text in texts]
        theirs.append(found)
    drafts, references = ([words(text) for text in texts] for texts in pairs)
    kinds = {name: getattr(pytest.importorskip(f"{package}.{name.lower()}.{name.lower()}"), name) for name in
             ("Bleu", "Rouge", "Cider")}  # fmt: skip
    found = {name: kind().compute_score(theirs[1], theirs[0]) for name, kind in kinds.items()}
    assert bleu(bleu_counts(drafts, references).sum(0)) == pytest.approx(found["Bleu"][0], abs=1e-12)
    own = [rouge_l(*pair) for pair in zip(drafts, references, strict=True)]
    assert own == pytest.approx(list(found["Rouge"][1]), abs=1e-12)
    assert cider(drafts, references) == pytest.approx(found["Cider"][1], abs=1e-12)


@given(st.lists(st.sampled_from(["no", "effusion", "small", "left"]), min_size=5, max_size=12))
def test_value_a_draft_equal_to_its_reference_is_best(text: list[str]) -> None:
    other = ["heart", "size", "is", "normal", "today"]
    assert bleu(bleu_counts([text], [text]).sum(0)) == pytest.approx(np.ones(4))
    assert rouge_l(text, text) == pytest.approx(1) and rouge_l(text, other) == 0
    assert cider([text, other], [text, other]) == pytest.approx([10, 10])
    assert cider([[], []], [text, other]) == pytest.approx([0, 0]) and rouge_l([], text) == 0
    assert bleu(bleu_counts([[]], [text]).sum(0)) == pytest.approx(np.zeros(4), abs=1e-3)
