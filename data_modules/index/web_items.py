"""Items of a shard in the form of webdataset: members of one name but the ending, such as a1.jpg, a1.json, a1.txt."""

from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from data_modules.boundary import decoded, parse_json
from data_modules.errors import UserError
from data_modules.index.files import APPLE_DOUBLE
from data_modules.index.tar_members import Member, members, read_member

IMAGES = ("jpg", "jpeg", "png", "webp", "tif", "tiff")
LARGEST_IMAGE = 1 << 28
LARGEST_TEXT = 1 << 20
"""Bytes of a text or of the JSON of an item."""
TEXTS = ("caption", "text", "captions", "texts")
LICENCES = ("license", "licence", "article_license")
ARTICLES = ("pmcid", "pmc_id", "article_accession_id", "article_id", "pmid", "patient", "patient_id")
UNSAFE, TWICE, UNREADABLE = (
    "member that is a link, or whose name leaves the shard",
    "member of a name that the shard had before",
    "item that cannot be read",
)


@dataclass(frozen=True)
class Fields:
    """Keys of an item's JSON; None: the first usual one."""

    text: str | None = None
    licence: str | None = None
    article: str | None = None


@dataclass
class Item:
    """``image`` is None where the item has none; ``article`` is its key where the JSON names none."""

    key: str
    image: Member | None
    texts: list[str]
    licence: str | None
    article: str


@dataclass
class Shard:
    """What a shard holds: items in their order, what was left out by reason, and the first words on each such item."""

    items: list[Item] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def count(self, reason: str) -> None:
        self.left_out[reason] = self.left_out.get(reason, 0) + 1


def read_shard(path: Path, fields: Fields) -> Shard:
    """The items of ``path``, without the bytes of their images; UserError where the shard itself is broken."""
    shard = Shard()
    groups: dict[str, dict[str, Member]] = {}
    for member in members(path):
        place = PurePosixPath(member.name)
        if not member.is_file or place.is_absolute() or ".." in place.parts:
            shard.count(UNSAFE)
            continue
        if place.name.startswith(APPLE_DOUBLE):
            continue
        stem, _, ending = place.name.partition(".")
        own = groups.setdefault((place.parent / stem).as_posix(), {})
        if ending.lower() in own:
            shard.count(TWICE)
        else:
            own[ending.lower()] = member
    for key, own in groups.items():
        try:
            shard.items.append(_item(path, key, own, fields))
        except UserError as error:
            shard.count(UNREADABLE)
            shard.problems.append(str(error))
    return shard


def _item(path: Path, key: str, own: dict[str, Member], fields: Fields) -> Item:
    image = next((own[ending] for ending in IMAGES if ending in own), None)
    if image is not None and image.size > LARGEST_IMAGE:
        raise UserError(_too_large(path, image, LARGEST_IMAGE))
    told = _json(path, own["json"]) if "json" in own else {}
    texts = [_text(path, own["txt"])] if "txt" in own and fields.text is None else []
    if not any(text.strip() for text in texts):
        texts = _listed(_first(told, fields.text, TEXTS), f"{path}: {key}.json")
    licence, article = _first(told, fields.licence, LICENCES), _first(told, fields.article, ARTICLES)
    return Item(
        key,
        image,
        [text for text in texts if text.strip()],
        licence.strip() or None if isinstance(licence, str) else None,
        str(article) if isinstance(article, str | int) and str(article).strip() else key,
    )


def _first(told: dict[str, Any], name: str | None, usual: tuple[str, ...]) -> Any:
    """The value of ``name``, without one of the first usual name that has a value."""
    return told.get(name) if name else next((told[n] for n in usual if told.get(n) not in (None, "", [])), None)


def _listed(value: Any, name: str) -> list[str]:
    values = value if isinstance(value, list) else [] if value is None else [value]
    if odd := [item for item in values if not isinstance(item, str)]:
        raise UserError(
            f"{name}: found {type(odd[0]).__name__} in the place of a text; name its field: data.text_field"
        )
    return values


def _json(path: Path, member: Member) -> dict[str, Any]:
    name = f"{path}: {member.name}"
    told = parse_json(decoded(_raw(path, member), name), name, "an object")
    if not isinstance(told, dict):
        raise UserError(f"{name}: found {type(told).__name__}, expected an object")
    return told


def _text(path: Path, member: Member) -> str:
    return decoded(_raw(path, member), f"{path}: {member.name}")


def _raw(path: Path, member: Member) -> bytes:
    if member.size > LARGEST_TEXT:
        raise UserError(_too_large(path, member, LARGEST_TEXT))
    return read_member(path, member.offset, member.size)


def _too_large(path: Path, member: Member, limit: int) -> str:
    return f"{path}: {member.name} has {member.size:,} bytes, expected at most {limit:,}"
