"""Where data come from: a result on the phantom is none on real data."""

from pathlib import Path

from data_modules.store.store import open_store


def is_phantom(root: Path) -> bool:
    """Whether ``root`` lies in a folder that the `phantom` command wrote, or is a store prepared from such a folder.

    Raises:
        UserError: a store of another version.
    """
    if store := open_store(root):
        return store.manifest["phantom"]
    root = root.resolve()
    return any((folder / "phantom.json").is_file() for folder in (root, *root.parents[:2]))
