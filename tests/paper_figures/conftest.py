import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # for `from synthetic_runs import ...`
sys.path.insert(0, str(Path(__file__).parents[1] / "empirics"))  # for `from written_runs import ...`
