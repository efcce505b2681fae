"""Registries of measurements, samplers, tasks and models, which are found by name.

To add one, write a class with a `name` in a separate file; no other file changes. The package's modules are found by
walking its folders, external modules by the entry point group `slt_grok.plugins` or the key `plugins` of a
configuration.
"""

import importlib
import pkgutil
from collections.abc import Iterable
from functools import cache
from importlib.metadata import entry_points
from typing import Any, ClassVar, Self

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
            other = cls.registry.setdefault(cls.name, cls)
            if (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
                raise SltGrokError(
                    f"{cls.__module__}.{cls.__qualname__}: the name {cls.name!r} is already taken by "
                    f"{other.__module__}.{other.__qualname__}; choose another"
                )
            cls.registry[cls.name] = cls

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
        if name not in cls.registry:
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
        point.load()


def load_plugins(modules: Iterable[str], origin: str) -> None:
    """Import the modules listed in a configuration.

    Parameters
    ----------
    modules : iterable of str
        Dotted names of importable modules; file paths are not accepted.
    origin : str
        Name of the source in error messages.

    Raises
    ------
    SltGrokError
        A module cannot be imported.
    """
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise SltGrokError(f"{origin}: plugins: cannot import {module!r} ({error})") from error
