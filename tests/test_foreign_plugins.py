"""Plugins that a run's manifest lists: they run only if they were named on this machine."""

import os
import py_compile
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from slt_grok.errors import SltGrokError
from slt_grok.registry import import_plugins, load_plugins
from slt_grok.user_code import call, permit
from tests.conftest import Command, edit_manifest


@pytest.fixture
def foreign(finished: Path, nothing_permitted: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder from elsewhere, in which a run's manifest lists a module next to it."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    shutil.copytree(finished, nothing_permitted / "run")
    edit_manifest(nothing_permitted / "run", lambda manifest: manifest["config"].update(plugins=["evil.inner"]))
    (nothing_permitted / "evil").mkdir()
    (nothing_permitted / "evil" / "inner.py").touch()
    code = "from pathlib import Path\nPath(__file__).parents[1].joinpath('executed').touch()\n"
    (nothing_permitted / "evil" / "__init__.py").write_text(code)
    yield nothing_permitted
    for name in ("evil", "evil.inner"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("command", ["measure", "report", "show", "calibrate", "extract"])
def test_a_plugin_of_a_manifest_runs_only_if_it_was_named_here(
    foreign: Path, slt_grok_command: Command, command: str
) -> None:
    exit_code, error = slt_grok_command(command, "run")
    assert not (foreign / "executed").exists()
    if command != "show":  # which reads the datasets alone
        assert exit_code == 2
        assert "manifest.json: plugins: the module evil, " in error
        assert "slt-grok list --plugin evil" in error
        assert len(error.splitlines()) == 1


def test_a_named_plugin_of_a_manifest_runs_until_it_changes(foreign: Path, slt_grok_command: Command) -> None:
    assert slt_grok_command("list", "--plugin", "evil.inner")[0] == 0
    for name in ("evil", "evil.inner"):
        del sys.modules[name]  # as in another process
    assert slt_grok_command("report", "run")[0] == 0
    for name in ("evil", "evil.inner"):
        del sys.modules[name]
    (foreign / "evil" / "inner.py").write_text("raise KeyError")
    exit_code, error = slt_grok_command("report", "run")
    assert exit_code == 2
    assert "the module evil.inner, " in error


def test_a_cached_file_of_a_plugin_is_not_executed(foreign: Path) -> None:
    """Python itself would run it, since its header has the time and the size of the source."""
    source = foreign / "evil" / "__init__.py"
    harmless = source.read_text()
    cached = Path(py_compile.compile(str(source), doraise=True) or "")
    at = source.stat().st_mtime_ns
    source.write_text("x = 3".ljust(len(harmless)))
    os.utime(source, ns=(at, at))
    assert cached.is_file()
    load_plugins(["evil"], "--plugin", named=True)
    assert not (foreign / "executed").exists()
    assert sys.modules["evil"].x == 3


def test_the_current_folder_adds_no_entry_points(foreign: Path) -> None:
    (foreign / "evil-1.dist-info").mkdir()
    (foreign / "evil-1.dist-info" / "entry_points.txt").write_text("[slt_grok.plugins]\nevil = evil\n")
    import_plugins.cache_clear()
    with pytest.raises(SltGrokError, match="was never named"):
        load_plugins(["evil"], "manifest.json", named=False)
    assert not (foreign / "executed").exists()


def test_the_current_folder_is_not_searched_by_others(foreign: Path) -> None:
    load_plugins(["json"], "manifest.json", named=False)
    assert str(foreign) not in sys.path
    assert call(permit_in(foreign)) == 5
    assert str(foreign) not in sys.path


def permit_in(folder: Path) -> str:
    """Permit a function that imports a neighbor when it is called."""
    (folder / "neighbor.py").write_text("x = 5")
    (folder / "mine.py").write_text("def f():\n    from neighbor import x\n    return x\n")
    return permit("mine.py:f", "--data")


def test_equal_files_in_two_folders_are_two_modules(nothing_permitted: Path) -> None:
    for folder in ("one", "other"):
        (nothing_permitted / folder).mkdir()
        (nothing_permitted / folder / "net.py").write_text("def where(): return __file__\n")
        named = nothing_permitted / folder / "net.py"
        assert call(permit(f"{named}:where", "--data")) == str(named.resolve())


def test_an_error_of_several_lines_is_one_short_sentence(nothing_permitted: Path) -> None:
    (nothing_permitted / "net.py").write_text("def f(): raise ValueError('a' * 500 + chr(10) + 'second')\n")
    with pytest.raises(SltGrokError, match=r"net\.py:f: fails with ValueError: a") as caught:
        call(permit(f"{nothing_permitted / 'net.py'}:f", "--data"))
    assert len(str(caught.value)) <= 300
    assert "second" not in str(caught.value)
