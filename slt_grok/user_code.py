"""A user's functions, which a run names by file, function and digest: `/home/me/my_net.py:build@3f0c...`.

A function runs only if the user named it on the command line of this machine, and only while its file is as it was
then: a run directory from elsewhere, or with an edited manifest, executes nothing else. The same holds for a manifest's
plugins, which are named in a configuration or by an option. What was named is kept in the user's state folder,
`~/.local/state/slt_grok` unless XDG_STATE_HOME says otherwise. Modules that a file imports run with it and are not
covered by its digest.
"""

import hashlib
import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from slt_grok.errors import SltGrokError, one_line
from slt_grok.format import first_line

PATTERN = r"(?P<file>.+\.py):(?P<function>[^\W\d]\w*)"
REFERENCE = re.compile(PATTERN + r"@(?P<digest>[0-9a-f]{64})")

_permitted = set[str]()  # by this process


class CodeError(SltGrokError):
    """A run's code cannot be executed; its datasets can still be read."""


def permit(text: str, option: str) -> str:
    """Permit a function to run, now and later, and return a reference to it.

    Without a writable state folder, it is permitted for this process only.

    Parameters
    ----------
    text : str
        `FILE.py:FUNCTION`, as given on the command line.
    option : str
        The option, for error messages.

    Raises
    ------
    SltGrokError
        The text has another form, or there is no such file.
    """
    match = re.fullmatch(PATTERN, text)
    if not match:
        raise SltGrokError(f"{option}: expected FILE.py:FUNCTION, such as my_net.py:build, got {text!r}")
    file = Path(match["file"]).resolve()
    try:
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise SltGrokError(f"{option}: {file}: expected a readable Python file ({error.strerror})") from error
    reference = f"{file}:{match['function']}@{digest}"
    _remember(reference)
    return reference


def import_plugin(name: str, named: bool) -> None:
    """Import a module from the source whose digest is permitted, never from a file in `__pycache__`.

    The packages around it must be imported already.

    Parameters
    ----------
    name : str
        Dotted name of the module.
    named : bool
        Whether the user named it just now, so that it is permitted, now and later, while its file is as it is now.

    Raises
    ------
    CodeError
        It was never named on this machine, or has changed since.
    """
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None or not spec.has_location:
        importlib.import_module(name)
        return
    content = Path(spec.origin).read_bytes()
    reference = f"{Path(spec.origin).resolve()}@{hashlib.sha256(content).hexdigest()}"
    if named:
        _remember(reference)
    if name in sys.modules:
        return
    if reference not in _read_permitted():
        raise CodeError(
            f"the module {name}, {reference.rpartition('@')[0]}, was never named on this machine or has changed since; "
            f"read it, and if you trust it, name it by slt-grok list --plugin {name}"
        )
    if not isinstance(spec.loader, SourceFileLoader):  # a compiled one, which is the file itself
        importlib.import_module(name)
        return
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        exec(compile(content, spec.origin, "exec"), vars(module))
    except BaseException:
        sys.modules.pop(name, None)
        raise
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, module)


def load(reference: str) -> Callable[..., Any]:
    """Load the function of a reference; its file runs once per process.

    Raises
    ------
    CodeError
        The reference is malformed, the file is missing or has changed, the function was never named on this machine,
        the file fails, or it has no such function.
    """
    match = REFERENCE.fullmatch(reference)
    if not match:
        raise CodeError(f"expected a reference FILE.py:FUNCTION@SHA256, got {reference!r}")
    file, digest = Path(match["file"]), match["digest"]
    try:
        source = file.read_bytes()
    except OSError as error:
        raise CodeError(
            f"{file}: expected the code of this run, cannot read it ({error.strerror}); restore it, or import the "
            f"checkpoints again"
        ) from error
    if hashlib.sha256(source).hexdigest() != digest:
        raise CodeError(
            f"{file}: has changed since the import; restore it, or import the checkpoints again with the new one"
        )
    if reference not in _read_permitted():  # a copy elsewhere would import other neighbors
        raise CodeError(
            f"{file}: this run would execute its function {match['function']}, which was never named on this machine; "
            f"read it, and import the checkpoints again if you trust it"
        )
    function = getattr(_module(file, source, digest), match["function"], None)
    if not callable(function):
        raise CodeError(f"{file}: expected a function {match['function']}, it has none")
    return function


def call(reference: str) -> Any:
    """Call the function of a reference without arguments.

    Raises
    ------
    CodeError
        As for `load`, or the function fails.
    """
    function = load(reference)
    try:
        with importable(Path(reference).parent):
            return function()
    except (Exception, SystemExit) as error:
        raise _failure(reference.partition("@")[0], error) from error


@contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Let code in the block import its neighbors; libraries that look for optional modules later do not find them."""
    path = str(folder)
    sys.path.append(path)
    try:
        yield
    finally:
        sys.path.remove(path)


def short(text: str) -> str:
    """Shorten a reference to FILE.py:FUNCTION without folders; any other text stays as it is."""
    match = REFERENCE.fullmatch(text)
    return f"{Path(match['file']).name}:{match['function']}" if match else text


def _failure(where: object, error: BaseException) -> CodeError:
    return CodeError(one_line(f"{where}: fails with {type(error).__name__}: {first_line(error)}"))


def _module(file: Path, source: bytes, digest: str) -> ModuleType:
    key = hashlib.sha256(f"{file}@{digest}".encode()).hexdigest()  # a copy in another folder has other neighbors
    alias = f"slt_grok_code_{key[:16]}"  # under which worker processes unpickle its functions
    if alias not in sys.modules:
        module = sys.modules[alias] = ModuleType(alias)
        module.__file__ = str(file)
        try:
            with importable(file.parent):
                exec(compile(source, file, "exec"), vars(module))
        except (Exception, SystemExit) as error:
            del sys.modules[alias]
            raise _failure(file, error) from error
    return sys.modules[alias]


def _remember(reference: str) -> None:
    if reference not in _read_permitted():
        _permitted.add(reference)
        with suppress(OSError):
            path = _permitted_path()
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a") as lines:
                lines.write(reference + "\n")


def _permitted_path() -> Path:
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "slt_grok" / "permitted"


def _read_permitted() -> set[str]:
    try:
        return _permitted | set(_permitted_path().read_text().splitlines())
    except OSError:
        return _permitted
