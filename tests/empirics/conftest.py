"""Makes the helpers beside the tests importable: ``from written_runs import write_run``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
