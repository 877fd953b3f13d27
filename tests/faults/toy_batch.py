"""The command line on the notebooks of another folder, with little patience: a batch for tests to interrupt.

Workers import this file, too, so they are as impatient.
"""

import os
import sys
from pathlib import Path

from dlt_core.__main__ import main
from dlt_core.reproduce import batch, workers

batch.NOTEBOOKS = Path(os.environ["TOY_NOTEBOOKS"])
workers.GRACE_SECONDS = 3.0

if __name__ == "__main__":
    sys.exit(main())
