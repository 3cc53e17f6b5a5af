"""A data set on the hub, downloaded as it lies there: ``hf://datasets/<owner>/<name>`` or ``…@<revision>``."""

import re
from functools import lru_cache
from pathlib import Path

from data_modules.boundary import boundary
from data_modules.errors import UserError

PREFIX = "hf://"
_NAME = re.compile(r"hf://datasets/(?P<name>[\w.-]+/[\w.-]+)(@(?P<revision>[^@]+))?")
REMEDY = "correct the name, log in with `hf auth login` and accept the terms on its page, or name a folder"


@lru_cache
def local_folder(root: str) -> Path:
    """``root``; of a name on the hub, the folder in the user's cache to which it is downloaded, if it is not there.

    Code of the data set is not run: its tables and images are read as those of a folder are.

    Raises:
        UserError: not a name of a data set, or it cannot be downloaded.
    """
    if not root.startswith(PREFIX):
        return Path(root)
    if (found := _NAME.fullmatch(root)) is None:
        raise UserError(f"data.root: found {root}, expected hf://datasets/<owner>/<name> or a folder")
    from huggingface_hub import snapshot_download

    with boundary(f"{root}: cannot be downloaded", REMEDY):
        return Path(snapshot_download(found["name"], repo_type="dataset", revision=found["revision"]))
