"""`python -m imagenets VERB ...`: the same as `imagenets VERB ...`."""

import sys

from imagenets.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
