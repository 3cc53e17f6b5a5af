"""`prepare`: a data set is read once, its texts extracted, its images shrunk; resumable and atomic."""

from data_modules.prepare.command import prepare
from data_modules.store.shards import Options

__all__ = ["Options", "prepare"]
