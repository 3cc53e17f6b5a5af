"""Tokenisers: trained here on the reports, or loaded from a hub or a folder, and carried in checkpoints as text."""

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # its threads do not survive forked workers

import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, trainers

from data_modules.boundary import lines_of, read_json, read_text
from data_modules.errors import UserError
from data_modules.text.sections import DEIDENTIFIED

ROBERTA = {"[PAD]": "<pad>", "[UNK]": "<unk>", "[CLS]": "<s>", "[SEP]": "</s>", "[MASK]": "<mask>"}
"""Special tokens of BERT-like vocabularies -> the same roles in RoBERTa-like ones."""
CLIP = {"[PAD]": "<|endoftext|>", "[UNK]": "<|endoftext|>", "[CLS]": "<|startoftext|>", "[SEP]": "<|endoftext|>"}
"""The same roles in vocabularies of CLIP, which have no mask."""
SPECIAL = tuple(ROBERTA)
ASCII = [chr(code) for code in range(33, 127)]
LONGEST_WORD = 1000
"""Characters; a longer word becomes [UNK] in WordPiece and is refused in training."""
LARGEST_VOCABULARY = 1_000_000
"""Pieces of a trained tokeniser."""
_DIGIT = re.compile(r"\d")
_BRACKETED = re.compile(r"\[\*\*.*?\*\*\]", re.DOTALL)
"""De-identification marks with a content, such as ``[**Name**]``."""


@dataclass(frozen=True)
class TextOptions:
    """Which tokeniser, and how long texts are.

    Args:
        tokenizer: "train" (WordPiece on the training texts), a hub name, a local folder, or a tokenizer.json.
        max_tokens: length T of ``input_ids``, special tokens included; longer texts are cut.
        vocab_size: largest number of pieces of a trained tokeniser.
        min_count: a trained tokeniser learns pieces only from words that occur in the texts of at least this many
            patients and hold no digit, and never from bracketed names. Checkpoints hold their tokeniser, so that they
            do not reveal rare names, dates or numbers of the reports. Other words are written in shorter pieces, down
            to single characters. 1 learns from every word, digits and names included.
        min_tokens: texts of fewer words are dropped and counted.
        sentence_dropout: training leaves out this share of a report's sentences, at random. Short texts (prompts,
            phrases) are then nothing new to the text encoder [GLoRIA goes further: one sentence a step].
        from_labels: a sample without a text gets one written from its labels: a sentence for every known label,
            negative ones too, which training words anew every epoch.
        drop_comparisons: leave out sentences that refer to an earlier study, such as "unchanged since the prior study"
            (English): one image cannot show what they say. Applied on reading, also of a prepared store.
        length_window: training batches hold texts of similar length, shared out over this many batches; 0 does not.
            Saves the padding, and makes the batch's other reports harder negatives.
    """

    tokenizer: str = "train"
    max_tokens: int = 128
    vocab_size: int = 8192
    min_tokens: int = 3
    sentence_dropout: float = 0.0
    length_window: int = 0
    min_count: int = 5
    from_labels: bool = False
    drop_comparisons: bool = False


DEFAULT_TEXT = TextOptions()


class Tokenizer:
    """A ``tokenizers.Tokenizer`` with BERT's roles and the word of every piece.

    A *word* is a pre-token with a letter or a digit: "x-ray" is two words and a hyphen. Bare punctuation and the
    de-identification mark ``___`` stay in the text but are no words: predicting or aligning them teaches nothing, so
    their ``word_ids`` are -1, as those of special tokens.
    """

    def __init__(self, backend: tokenizers.Tokenizer) -> None:
        backend.no_truncation()
        backend.no_padding()
        self._backend = backend
        ids: list[int | None] = []
        clip = CLIP if backend.token_to_id(CLIP["[CLS]"]) is not None else {}
        for bert, roberta in ROBERTA.items():
            names = (bert, roberta, clip.get(bert, bert))
            known: list[int | None] = [i for name in names if (i := backend.token_to_id(name)) is not None]
            if not known and clip and bert == "[MASK]":
                known = [None]
            if not known:
                raise UserError(
                    f"tokeniser: found no {bert} or {roberta}, expected the special tokens of a masked language "
                    "model; use the tokeniser of one, such as BERT"
                )
            ids.append(known[0])
        *of_text, self.mask_id = ids
        self.pad_id, self.unk_id, self.cls_id, self.sep_id = (i for i in of_text if i is not None)

    @classmethod
    def make(cls, options: TextOptions, texts: Sequence[str], patients: Sequence[str] | None = None) -> "Tokenizer":
        """The tokeniser ``options`` ask for, checked on ``texts`` (the training texts); ``patients`` as in `train`."""
        if options.max_tokens < 3:
            raise UserError(f"text.max_tokens: found {options.max_tokens}, expected 3 or more")
        if options.tokenizer == "train":
            return cls.train(texts, options.vocab_size, options.min_count, patients)
        made = cls.load(options.tokenizer)
        made.check(texts, options.tokenizer)
        return made

    @classmethod
    def train(
        cls,
        texts: Sequence[str],
        vocab_size: int = DEFAULT_TEXT.vocab_size,
        min_count: int = DEFAULT_TEXT.min_count,
        patients: Sequence[str] | None = None,
    ) -> "Tokenizer":
        """WordPiece, lower case, accents stripped; no character of ``texts`` (nor of ASCII) becomes [UNK].

        The library's trainer numbers ``##x`` pieces in the order of a randomly seeded hash map, and breaks ties by
        these numbers, so that two runs differ. Giving it every ``x`` and ``##x`` beforehand makes it deterministic.

        Args:
            texts: to learn from.
            vocab_size: largest number of pieces.
            min_count: see :class:`TextOptions`.
            patients: (len(texts),) whose texts they are; without it every text counts as a patient.

        Raises:
            UserError: ``vocab_size`` or ``min_count`` out of range, or a word of more than 1,000 characters.
        """
        if min_count < 1:
            raise UserError(f"text.min_count: found {min_count}, expected 1 or more")
        if vocab_size > LARGEST_VOCABULARY:
            raise UserError(f"text.vocab_size: found {vocab_size}, expected at most {LARGEST_VOCABULARY:,}")
        lower = normalizers.BertNormalizer(lowercase=True)
        seen = {c for text in texts for c in lower.normalize_str(text) if not c.isspace()}
        alphabet = sorted(seen | {lower.normalize_str(c) for c in ASCII})
        given = [*SPECIAL, DEIDENTIFIED, *alphabet, *(f"##{c}" for c in alphabet)]
        if vocab_size < len(given):
            raise UserError(f"text.vocab_size: found {vocab_size}, expected {len(given)} or more")
        trained = _wordpiece({}, lowercase=True)
        learnt = [text.replace(DEIDENTIFIED, " ") for text in texts]
        _refuse_long_words(trained, learnt)
        if min_count > 1:
            learnt = _shared_words(trained, learnt, min_count, patients)
        trainer = trainers.WordPieceTrainer(
            vocab_size=vocab_size, special_tokens=given, limit_alphabet=len(given), show_progress=False
        )
        trained.train_from_iterator(learnt, trainer)
        return cls(_wordpiece(trained.get_vocab(), lowercase=True))

    @classmethod
    def load(cls, name: str) -> "Tokenizer":
        """A tokenizer.json, a folder holding one or a vocab.txt, else a hub name for transformers."""
        path = Path(name)
        file = path / "tokenizer.json" if path.is_dir() else path
        if file.suffix == ".json" and file.is_file():
            return cls.from_json(read_text(file), str(file))
        if (path / "vocab.txt").is_file():
            return cls(_from_vocabulary(path))
        from transformers import AutoTokenizer  # slow to import, needed for hub names only

        try:
            return cls(AutoTokenizer.from_pretrained(name, trust_remote_code=False).backend_tokenizer)
        except (OSError, ValueError, KeyError, AttributeError) as error:
            reason = str(error).strip().split("\n")[0]
            raise UserError(
                f"text.tokenizer: found {name!r}, expected 'train', a folder with tokenizer.json or vocab.txt, "
                f"or a hub name with a fast tokeniser ({reason})"
            ) from None

    @classmethod
    def from_json(cls, text: str, name: str = "tokeniser") -> "Tokenizer":
        """Inverse of ``to_json``."""
        try:
            return cls(tokenizers.Tokenizer.from_str(text))
        except UserError:
            raise
        except Exception as error:  # the library raises bare Exception
            raise UserError(f"{name}: not a tokenizers JSON ({error}); save the tokeniser again") from None

    def to_backend(self) -> tokenizers.Tokenizer:
        """A copy of the library's tokeniser."""
        return tokenizers.Tokenizer.from_str(self.to_json())

    def to_json(self) -> str:
        """The whole tokeniser as text, plain enough for a checkpoint."""
        return self._backend.to_str()

    def __len__(self) -> int:
        return self._backend.get_vocab_size()

    def check(self, texts: Sequence[str], name: str) -> None:
        """UserError when most pieces of (the first 200 of) ``texts`` are [UNK]."""
        pieces = [i for text in islice(texts, 200) for i in self._backend.encode(text, add_special_tokens=False).ids]
        unknown = sum(i == self.unk_id for i in pieces)
        if pieces and unknown > len(pieces) / 2:
            raise UserError(
                f"text.tokenizer: {name} turns {unknown} of {len(pieces)} pieces into [UNK], expected few; "
                "its vocabulary is empty or of another language: correct the folder, or set text.tokenizer to train"
            )

    def encode(self, text: str, max_tokens: int) -> tuple[list[int], list[int], list[int]]:
        """``input_ids``, ``attention_mask`` and ``word_ids``, each of length ``max_tokens``: [CLS] text [SEP] [PAD]."""
        encoding = self._backend.encode(text, add_special_tokens=False)
        pieces = encoding.ids[: max_tokens - 2]
        words: list[int] = []
        number: dict[int | None, int] = {}
        count = 0
        for (start, end), word in zip(encoding.offsets[: len(pieces)], encoding.word_ids, strict=False):
            if word not in number:
                first, last = (start, end) if word is None else encoding.word_to_chars(word) or (start, end)
                is_word = any(map(str.isalnum, text[first:last]))
                number[word] = count if is_word else -1
                count += is_word
            words.append(number[word])
        padding = max_tokens - len(pieces) - 2
        ids = [self.cls_id, *pieces, self.sep_id, *[self.pad_id] * padding]
        return ids, [1] * (len(pieces) + 2) + [0] * padding, [-1, *words, -1, *[-1] * padding]

    def count(self, text: str) -> int:
        """Tokens of the whole text, with [CLS] and [SEP]."""
        return len(self.pieces(text)) + 2

    def pieces(self, text: str) -> list[int]:
        """Ids of the word-pieces of ``text``, without special tokens."""
        found: list[int] = self._backend.encode(text, add_special_tokens=False).ids
        return found

    def columns(self, texts: Sequence[str], most: int = 128) -> dict[str, list[list[int]]]:
        """``input_ids``, ``attention_mask`` and ``word_ids`` of ``texts``, all of one length, cut at ``most``."""
        length = min(2 + max(map(len, texts)), most)
        encoded = [self.encode(text, length) for text in texts]
        names = ("input_ids", "attention_mask", "word_ids")
        return {name: [rows[place] for rows in encoded] for place, name in enumerate(names)}

    def piece(self, token_id: int) -> str:
        """The word-piece of an id, ``##`` and all."""
        return self._backend.id_to_token(token_id) or ""

    def decode(self, ids: Sequence[int]) -> str:
        """Text without special tokens: words and punctuation joined by single spaces, as the tokeniser saw them."""
        return self._backend.decode(list(ids), skip_special_tokens=True)


def _words(backend: tokenizers.Tokenizer, text: str) -> list[str]:
    """The pre-tokens of ``text``: words and punctuation marks, normalised."""
    assert backend.normalizer is not None and backend.pre_tokenizer is not None
    return [word for word, _ in backend.pre_tokenizer.pre_tokenize_str(backend.normalizer.normalize_str(text))]


def _refuse_long_words(backend: tokenizers.Tokenizer, texts: Sequence[str]) -> None:
    for text in texts:
        if len(text) <= LONGEST_WORD:
            continue
        longest = max(_words(backend, text), key=len, default="")
        if len(longest) > LONGEST_WORD:
            raise UserError(
                f"tokeniser training: found a word of {len(longest):,} characters ({longest[:20]}…), expected at most "
                f"{LONGEST_WORD:,}; remove it from the texts"
            )


def _shared_words(
    backend: tokenizers.Tokenizer, texts: Sequence[str], min_count: int, patients: Sequence[str] | None
) -> list[str]:
    """``texts`` without bracketed names, words with a digit, and words of fewer than ``min_count`` patients."""
    shown = [_BRACKETED.sub(" ", text) for text in texts]
    owned: dict[object, list[str]] = {}
    for owner, text in zip(range(len(texts)) if patients is None else patients, shown, strict=True):
        owned.setdefault(owner, []).append(text)
    counts = Counter(word for own in owned.values() for word in set(_words(backend, "\n".join(own))))
    shared = {word for word, count in counts.items() if count >= min_count and not _DIGIT.search(word)}
    return [" ".join(word for word in _words(backend, text) if word in shared) for text in shown]


def _wordpiece(vocab: dict[str, int], lowercase: bool) -> tokenizers.Tokenizer:
    model = models.WordPiece(vocab, unk_token="[UNK]", max_input_chars_per_word=LONGEST_WORD)
    made = tokenizers.Tokenizer(model)
    made.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece(cleanup=False)
    made.add_special_tokens([token for token in SPECIAL if token in vocab])
    if DEIDENTIFIED in vocab:
        made.add_tokens([AddedToken(DEIDENTIFIED, normalized=False)])
    return made


def _from_vocabulary(folder: Path) -> tokenizers.Tokenizer:
    """A folder with vocab.txt alone; transformers 5 ignores the file in silence and answers [UNK] to everything."""
    lines = lines_of(read_text(folder / "vocab.txt"))
    config: dict[str, Any] = {}
    if (folder / "tokenizer_config.json").is_file():
        config = read_json(folder / "tokenizer_config.json", "the settings of a tokeniser")
    return _wordpiece({line.rstrip(" \t"): i for i, line in enumerate(lines)}, config.get("do_lower_case", True))
