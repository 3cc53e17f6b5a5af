"""Words of a report: those of the Penn Treebank tokeniser of COCO's caption evaluation, without its Java, or R2Gen's.

Scores that count words differ by the tokeniser alone, so that it is part of a protocol.
"""

import re
from html import unescape

_WORD = re.compile(
    r"""
      <[a-z/][^<>\s]*>                                             # a tag
    | (?:[a-z]\.){2,}(?=\W|$)                                     # p.m.
    | (?:drs?|mrs?|ms|vs|st|jr|sr|prof|ct)\.(?=\ \w|$) | no\.(?=\ \d)  # an abbreviation
    | '(?:s|re|ve|ll|d|m)\b | n't\b                               # what contractions end with
    | [a-z0-9_]+?(?=n't\b) | can(?=not\b)                         # and what comes before
    | _+
    | \d+\.\d+(?=/) | \d+(?:[.,/:-]\d+)*(?:st|nd|rd|th)?(?![a-z0-9])  # 1.5, 12/33, 8-12, 6th
    | [a-z0-9]+(?:[-/.&][a-z0-9]+)*                               # left-sided, and/or, a missing space after a stop
    | \.{2,} | -{2,} | [^\s\w]
    """,
    re.VERBOSE,
)
_BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}
_PUNCTUATION = frozenset({".", "?", "!", ",", ":", "-", ";", "'", "`", '"', "“", "”", "‘", "’"})


def words(text: str) -> list[str]:
    """Lower case, punctuation left out; brackets stay, as ``-lrb-`` and ``-rrb-``."""
    found = _WORD.findall(unescape(text).lower())
    return [_BRACKETS.get(word, word) for word in found if word not in _PUNCTUATION and word[:2] not in ("..", "--")]


_R2GEN_NUMBERING = re.compile(r"(?:^|(?<=\s))\d+\.\s")
_R2GEN_REMOVED = re.compile(r"[.,?;*!%^&_+():-\[\]{}\"'/\\]")


def r2gen_words(text: str) -> list[str]:
    """As R2Gen cleans reports of IU X-Ray: no numbers of a list, no punctuation, a stop after every sentence.

    It does this to references as well, after lower-casing them, which raises every score.
    """
    sentences = _R2GEN_NUMBERING.sub("", text.strip().lower()).split(". ")
    cleaned = (" ".join(_R2GEN_REMOVED.sub("", sentence).split()) for sentence in sentences)
    return [*" . ".join(filter(None, cleaned)).split(), "."]
