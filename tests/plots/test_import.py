"""The modules of figures can be imported in any order."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["style", "components"])
def test_a_module_of_figures_can_be_imported_first(module: str) -> None:
    program = f"import slt_grok.plots.{module}; from slt_grok.plots import llc_gauge, palette; print(palette.BLUE)"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith("#")
