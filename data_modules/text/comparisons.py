"""Sentences that refer to an earlier study, which one image cannot show."""

import re

from data_modules.text.sentences import sentences

_REFERS = re.compile(
    r"\b(?:"
    r"compared?|comparison|comparing|interval|unchanged|stable|previous|previously|redemonstrated|persists?|persistent"
    r"|remains?|new|newly|worsening|improving|resolved|resolving"
    r"|(?:since|from|than|to|with) (?:the )?(?:prior|last|earlier)"
    r"|prior (?:study|studies|exam|exams|examination|examinations|film|films|image|images|radiograph|radiographs|ct)"
    r"|no (?:significant |relevant |substantial )?change"
    r"|again (?:is |are )?(?:seen|noted|demonstrated|identified)"
    r"|ha(?:s|ve) (?:\w+ )?(?:increased|decreased|improved|worsened|enlarged|progressed|cleared|changed)"
    r"|(?:increased|decreased|improved|worsened|changed)(?: in size)? (?:since|from)"
    r")\b",
    re.IGNORECASE,
)
"""English. "The heart is enlarged" and "markings are increased" describe one image."""


def refers_to_prior(sentence: str) -> bool:
    """Whether a sentence refers to an earlier study, by its words."""
    return _REFERS.search(sentence) is not None


def without_comparisons(text: str) -> tuple[str, int]:
    """``text`` without its sentences that refer to an earlier study, and how many these are."""
    told = sentences(text)
    kept = [sentence for sentence in told if not refers_to_prior(sentence)]
    return (text, 0) if len(kept) == len(told) else (" ".join(kept), len(told) - len(kept))
