"""The scripts' own folders on the path, as Python has it when one of them runs."""

import sys
from pathlib import Path

ANALYSES = Path(__file__).parents[2] / "analyses"
sys.path[:0] = [str(ANALYSES), str(ANALYSES / "claims")]
