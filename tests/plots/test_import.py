"""A module of figures can be imported before any figure is asked for."""

import subprocess
import sys


def test_the_style_can_be_imported_first() -> None:
    program = "import slt_grok.plots.style; from slt_grok.plots import llc_gauge, palette; print(palette.BLUE)"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith("#")
