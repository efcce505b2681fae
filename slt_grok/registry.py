"""Registries of measurements, samplers, tasks and models, which are found by name.

To add one, write a class with a `name` in a separate file; no other file changes. The package's modules are found by
walking its folders, external modules by the entry point group `slt_grok.plugins` or the key `plugins` of a
configuration. The plugins of a run's manifest are imported only if the user named them on this machine.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterable
from functools import cache, partial
from importlib.metadata import entry_points
from itertools import accumulate
from pathlib import Path
from typing import Any, ClassVar, Self

from slt_grok import user_code
from slt_grok.errors import SltGrokError

GROUP = "slt_grok.plugins"


class Registered:
    """Base of a family whose members are found by name: a direct subclass starts a family, its subclasses join it.

    A class below a family's base without a `name` is abstract and not listed.
    """

    registry: ClassVar[dict[str, Any]]
    packages: ClassVar[tuple[str, ...]]
    """Subpackages whose modules may define classes of the family."""
    name: ClassVar[str]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if Registered in cls.__bases__:
            cls.registry = {}
        elif "name" in vars(cls):
            where, missing = f"{cls.__module__}.{cls.__qualname__}", list(filter(cls._is_abstract, dir(cls)))
            if missing:
                raise SltGrokError(f"{where}: expected it to define {', '.join(missing)}")
            if not isinstance(cls.name, str) or not cls.name.isidentifier():
                raise SltGrokError(f"{where}: expected a name of letters, digits and underscores, got {cls.name!r}")
            other = cls.registry.setdefault(cls.name, cls)
            if (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
                raise SltGrokError(
                    f"{where}: the name {cls.name!r} is already taken by {other.__module__}.{other.__qualname__}; "
                    f"choose another"
                )
            cls.registry[cls.name] = cls

    @classmethod
    def _is_abstract(cls, attribute: str) -> bool:
        value = inspect.getattr_static(cls, attribute)
        return getattr(getattr(value, "func", value), "__isabstractmethod__", False)  # func: of a cached_property

    @classmethod
    def create(cls, **arguments: Any) -> Any:
        """Create what a configuration's section stands for: an instance, unless a class overrides this."""
        return cls(**arguments)

    @classmethod
    def load(cls) -> None:
        """Import every module that may define a class of the family."""
        for package in cls.packages:
            import_modules(f"slt_grok.{package}")
        import_plugins()

    @classmethod
    def all(cls) -> list[type[Self]]:
        """List the family's classes below this one, sorted by name."""
        cls.load()
        return [kind for _, kind in sorted(cls.registry.items()) if issubclass(kind, cls)]

    @classmethod
    def find(cls, name: str) -> type[Self]:
        """Get the family's class with a given name.

        Raises
        ------
        SltGrokError
            There is no such class.
        """
        cls.load()
        if not isinstance(name, str) or name not in cls.registry:
            raise SltGrokError(f"expected one of {', '.join(sorted(cls.registry))}, got {name!r}")
        return cls.registry[name]


@cache
def import_modules(package: str) -> None:
    """Import a package and every module in it."""
    for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
        importlib.import_module(module.name)


@cache
def import_plugins() -> None:
    """Import the plugins that other distributions declare by an entry point."""
    for point in entry_points(group=GROUP):
        _import(point.module, f"entry points {GROUP}")


def load_plugins(modules: Iterable[str], origin: str, named: bool) -> None:
    """Import the modules listed in a configuration.

    Parameters
    ----------
    modules : iterable of str
        Dotted names of importable modules; file paths are not accepted.
    origin : str
        Name of the source in error messages.
    named : bool
        Whether the user named them just now; otherwise they must have been named on this machine before.

    Raises
    ------
    SltGrokError
        A module cannot be imported, or may not, since it was never named on this machine.
    """
    import_plugins()  # before the current folder could add entry points
    for module in modules:
        with user_code.importable(Path.cwd()):
            for name in accumulate(module.split("."), "{}.{}".format):  # a package runs before the modules in it
                _import(name, origin, partial(user_code.import_plugin, named=named))


def _import(module: str, origin: str, load: Callable[[str], object] = importlib.import_module) -> None:
    try:
        load(module)
    except user_code.CodeError as error:
        raise user_code.CodeError(f"{origin}: plugins: {error}") from error
    except (Exception, SystemExit) as error:
        reason = f"{type(error).__name__}: {error}"
        raise SltGrokError(f"{origin}: plugins: cannot import {module!r} ({reason})") from error
