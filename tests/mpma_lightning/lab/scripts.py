"""A script in the place of the command line, forked as commands are."""

import sys
from pathlib import Path


def stands_for(script: Path) -> list[str]:
    """What to put in the place of ``program.SERVER``."""
    run = f"runpy.run_path({str(script)!r}, run_name='__main__')"
    return [sys.executable, "-c", f"import runpy\nfrom mpma_lightning.lab.warm import serve\nserve(lambda: {run})"]
