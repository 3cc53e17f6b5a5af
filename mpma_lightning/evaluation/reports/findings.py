"""A labeller by rules: which findings a report says to be present, absent or doubtful.

It is no replacement for the learned labellers of the literature, and its scores carry another name than theirs.
"""

import re
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from pathlib import Path

import numpy as np

from data_modules.text.sentences import sentences
from data_modules.yaml_files import read_yaml

RULES = Path(__file__).with_name("findings.yaml")
PRESENT, ABSENT, DOUBTFUL = 1, 0, -1
"""As in CheXpert's tables."""
NO_FINDING = "No Finding"
NOTHING = "(?!)"
"""A pattern that fits nothing."""
_STRENGTH = (ABSENT, DOUBTFUL, PRESENT)


def _any(patterns: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(rf"\b(?:{pattern})\b" for pattern in patterns) or NOTHING)


class FindingLabeller:
    """Labels by sentence: a finding is what its strongest mention says (present, then doubtful, then absent).

    A mention is absent if a negation stands before it in the same part of the sentence, or one of ``absent_after``
    after it, and doubtful by the same rule; parts end at ``borders``. ``no_negation`` begins like a negation and is
    none. See ``findings.yaml``.

    Attributes:
        names: of the findings; "No Finding" is not among them.
    """

    def __init__(self) -> None:
        rules = read_yaml(RULES)
        self.names: list[str] = list(rules["findings"])
        found = rules["findings"].values()
        self._mentions, self._normal, self._not = (
            [_any(rule.get(key, ())) for rule in found] for key in ("mentions", "normal", "not")
        )
        self._explained = [bool(rule.get("explained")) for rule in found]
        self._absent, self._doubtful, self._explains, self._no_negation = (
            _any(rules[key]) for key in ("absent", "doubtful", "explains", "no_negation")
        )
        self._absent_after, self._doubtful_after = (
            re.compile(rf"[^,]*?(?:{_any(rules[key]).pattern})") for key in ("absent_after", "doubtful_after")
        )
        self._borders = re.compile("|".join(rules["borders"]))

    def label(self, text: str) -> dict[str, int]:
        """By finding that the text speaks of: 1 present, 0 absent, -1 doubtful; "No Finding" is 1 where none is present
        or doubtful beside support devices."""
        found: dict[str, int] = {}
        for sentence in sentences(text):
            for name, state in _of_sentence(" ".join(sentence.lower().split())):
                if name not in found or _STRENGTH.index(state) > _STRENGTH.index(found[name]):
                    found[name] = state
        if text.strip() and not any(state for name, state in found.items() if name != "Support Devices"):
            found[NO_FINDING] = PRESENT
        return found

    def states(self, texts: Sequence[str]) -> np.ndarray:
        """(N, F) 1 present, 0 absent, -1 doubtful, NaN where a text does not speak of a finding."""
        labels = [self.label(text) for text in texts]
        return np.array([[found.get(name, np.nan) for name in self.names] for found in labels]).reshape(len(texts), -1)

    def of_sentence(self, sentence: str) -> Iterable[tuple[str, int]]:
        """What each mention in a lower-case sentence says of its finding."""
        start = 0
        for border in [*(match.start() for match in self._borders.finditer(sentence)), len(sentence)]:
            yield from self._of_part(sentence[start:border])
            start = border

    def _of_part(self, part: str) -> Iterable[tuple[str, int]]:
        harmless = self._no_negation.sub(lambda match: "_" * len(match.group()), part)
        spans: dict[int, list[tuple[int, int]]] = {}
        for place, name in enumerate(self.names):
            spans[place] = [match.span() for match in self._mentions[place].finditer(part)]
            if spans[place] and self._not[place].pattern != NOTHING:
                other = [match.span() for match in self._not[place].finditer(part)]
                spans[place] = [own for own in spans[place] if not any(a <= own[0] < b for a, b in other)]
            normal = self._normal[place]
            if normal.pattern != NOTHING and normal.search(part) and not self._absent.search(harmless):
                yield name, ABSENT
        for place, own in spans.items():
            for first, last in own:
                if self._explained[place] and self._is_explained(part, last, place, spans):
                    continue
                yield self.names[place], self._state(part, harmless, first, last)

    def _is_explained(self, part: str, last: int, place: int, spans: dict[int, list[tuple[int, int]]]) -> bool:
        said = self._explains.search(part, last)
        after = [first for other, own in spans.items() if other != place for first, _ in own]
        return said is not None and any(first >= said.end() for first in after)

    def _state(self, part: str, harmless: str, first: int, last: int) -> int:
        """``harmless`` is the part without what negates nothing."""
        if self._doubtful_after.match(part, last):
            return DOUBTFUL
        if self._absent_after.match(harmless, last) or self._absent.search(harmless, 0, last):
            return ABSENT
        return DOUBTFUL if self._doubtful.search(part, 0, first) else PRESENT


@cache
def labeller() -> FindingLabeller:
    """The one labeller of a process."""
    return FindingLabeller()


@lru_cache(maxsize=1 << 16)
def _of_sentence(sentence: str) -> tuple[tuple[str, int], ...]:
    """Reports repeat their sentences."""
    return tuple(labeller().of_sentence(sentence))
