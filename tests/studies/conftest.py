"""Runs without pages, whose figures tests/report draws from a run with every measurement."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def no_page(request: pytest.FixtureRequest) -> Iterator[None]:
    """Write no page, unless the module says `PAGES = True`: it takes longer than the measurements of a tiny run."""
    with pytest.MonkeyPatch.context() as patch:
        if not getattr(request.module, "PAGES", False):
            patch.setattr("slt_grok.report.write", lambda run: run.path / "report.html")
        yield
