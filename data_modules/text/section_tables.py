"""Facts of the official MIMIC-CXR section rules as tables: section names, view words, studies handled by hand.

Source: github.com/MIT-LCP/mimic-cxr, ``txt/section_parser.py`` (MIT licence).
"""

from data_modules.text.languages import headings

SECTION_NAMES = headings("en")
"""Header in lower case -> section."""

_VIEWS = (
    "chest, portable, pa and lateral, lateral and pa, ap and lateral, lateral and ap, frontal and, two views, "
    "frontal view, pa view, ap view, one view, lateral view, bone window, frontal upright, frontal semi-upright, "
    "ribs, pa and lat"
)
VIEW_WORDS = tuple(_VIEWS.split(", "))
"""A header that contains one of these names a findings section."""

_TAKE = {
    "recommendations": "50913680 59768032 59067458 59087630 58157373 56482935 58375018",
    "examination": "59363654 53356173 50743547 59215320 55157853",
    "technique": "59279892 53202765 50808053",
    "indication": "57936451 50058765 51966317 55124749 54365831 54654948",
    "note": "56451190",
    "history": "51491012",
}
EXCEPTION_SECTIONS = {f"s{study}": name for name, studies in _TAKE.items() for study in studies.split()}
"""23 studies whose text is in another section."""

_SLICES = (
    "50525523 201 349, 57564132 233 554, 59982525 313 717, 53488209 149 475, 54875119 234 988, 50196495 59 399, "
    "56579911 59 218, 52648681 292 631, 59889364 172 453, 53514462 73 377, 59505494 59 450, 53182247 59 412, "
    "51410602 47 320, 56412866 522 822, 54986978 59 306, 59003148 262 505, 57150433 61 394, 56760320 219 457, "
    "59562049 158 348, 52674888 145 296, 55258338 192 568, 59330497 140 655, 52119491 179 454"
)
_UNUSABLE = "58235663 50798377 54168089 53071062 56724958 54231141 53607029 52035334"
EXCEPTION_SLICES = {
    **{f"s{study}": (int(start), int(end)) for study, start, end in map(str.split, _SLICES.split(", "))},
    **{f"s{study}": (0, 0) for study in _UNUSABLE.split()},
}
"""31 studies whose text is a slice of the raw file with LF newlines; (0, 0) = no usable text."""
