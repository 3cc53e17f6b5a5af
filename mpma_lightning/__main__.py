"""python -m mpma_lightning"""

import sys

from mpma_lightning.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
