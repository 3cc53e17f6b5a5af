"""Reports that are partly written: a table of sample ids and drafts with gaps."""

from pathlib import Path

from data_modules.errors import UserError
from data_modules.index.records import read_json_table
from data_modules.index.tables import read_table

GAP = "[...]"
"""What is to be written; a draft without a gap goes on after its last word."""


def read_drafts(path: Path) -> dict[str, str]:
    """Drafts by sample id.

    Args:
        path: ``.jsonl`` of ``{"id": ..., "draft": "..."}``, or a CSV table with these columns.

    Raises:
        UserError: no such file or column, an id twice, or a draft without a word or a gap.
    """
    if not path.is_file():
        raise UserError(f"data.draft {path} does not exist; give a .jsonl or .csv table of id and draft")
    if path.suffix in (".jsonl", ".json"):
        table = read_json_table(path)
        if lacking := {"id", "draft"} - set(table):
            raise UserError(
                f"{path}: found columns {', '.join(map(str, table))}, expected id and draft; add {sorted(lacking)[0]}"
            )
        rows = list(zip(table.index, table["id"], table["draft"], strict=True))
    else:
        table = read_table(path, ["id", "draft"])
        rows = list(zip(range(2, len(table) + 2), table["id"], table["draft"], strict=True))
    found: dict[str, str] = {}
    for row, name, text in rows:
        if not isinstance(name, str):
            raise UserError(f"{path}: row {row} has no id, expected that of a sample; add it")
        if not isinstance(text, str) or not any(map(str.isalnum, text.replace(GAP, ""))):
            raise UserError(
                f"{path}: row {row} has an empty draft, expected what is written of the report, with {GAP} for gaps; "
                "write some words, or predict without data.draft to have the whole report drafted"
            )
        if name in found:
            raise UserError(f"{path}: row {row} has id {name!r} a second time, expected one draft a sample; remove one")
        found[name] = " ".join(text.split())
    return found


def segments(draft: str) -> list[str | None]:
    """The written parts of a draft, and None for every gap; at least one gap."""
    parts: list[str | None] = []
    for place, text in enumerate(draft.split(GAP)):
        parts += [None] * (place > 0) + [text.strip()] * bool(text.strip())
    return parts if None in parts else [*parts, None]
