"""Hashes that are the same in every process, on every machine, in every Python."""

from hashlib import blake2b, sha256
from pathlib import Path


def stable_hash(*parts: object) -> int:
    """Signed 64-bit BLAKE2b hash of the text forms of ``parts`` (fits an int64 tensor)."""
    digest = blake2b("\x1f".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def short_name(path: str | Path) -> str:
    """ "file name (first 12 digits of its SHA-256)": how results name a manifest or a split file."""
    return f"{Path(path).name} ({sha256(Path(path).read_bytes()).hexdigest()[:12]})"
