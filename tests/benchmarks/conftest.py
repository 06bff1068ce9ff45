"""Makes the helpers beside the benchmarks importable, and those beside the tests of empirics."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "empirics")]
