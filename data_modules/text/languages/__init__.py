"""Headings of reports by language: a YAML table each, by the code of the language."""

from functools import lru_cache
from pathlib import Path

from data_modules.errors import UserError, suggest
from data_modules.yaml_files import read_yaml

FOLDER = Path(__file__).parent
LANGUAGES = tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))


@lru_cache
def headings(language: str) -> dict[str, str]:
    """Heading -> section, as the table of a language writes them; UserError for a language without a table."""
    if language not in LANGUAGES:
        raise UserError(f"data.language {language!r} has no table of report headings{suggest(language, LANGUAGES)}")
    table = read_yaml(FOLDER / f"{language}.yaml")
    return {heading: section for section, own in table.items() for heading in own}
