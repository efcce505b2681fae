"""A written program, run on its own."""

import subprocess
import sys
from pathlib import Path

import numpy as np

from slt_grok import program
from slt_grok.program.writing import write

RUN = """
import sys, numpy as np
sys.path.insert(0, sys.argv[1])
import program
a, b = np.divmod(np.arange(program.MODULUS**2), program.MODULUS)
assert not {"torch", "scipy", "slt_grok", "xarray"} & {name.split(".")[0] for name in sys.modules}
print(*program.answer(a, b))
"""


def answers_of_file(extraction: program.Extraction, folder: Path) -> np.ndarray:
    path = write(extraction, folder / "program.py")
    lines = path.read_text().splitlines()
    assert len(lines) < 120
    done = subprocess.run([sys.executable, "-I", "-c", RUN, folder], capture_output=True, text=True, check=True)
    return np.array(done.stdout.split(), dtype=int)
