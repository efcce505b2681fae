"""Everything that is added in one place: measurements, samplers, tasks and models, found by their names.

Whoever adds one writes a class with a `name` in a file of its own and edits no other. The package's own modules are
found by walking its folders; modules from outside by the entry point group `slt_grok.plugins`, or by the key `plugins`
of a configuration.
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
    """Base of a family whose members are found by name: a direct subclass begins a family, those below it join it.

    A class below a family's base that has no `name` of its own is a base itself and not listed.
    """

    registry: ClassVar[dict[str, Any]]
    packages: ClassVar[tuple[str, ...]]
    """The packages inside this one whose modules are walked for the family's classes."""
    name: ClassVar[str]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if Registered in cls.__bases__:
            cls.registry = {}
        elif "name" in vars(cls):
            other = cls.registry.setdefault(cls.name, cls)
            if (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
                raise SltGrokError(
                    f"{cls.__module__}.{cls.__qualname__}: the name {cls.name!r} is that of "
                    f"{other.__module__}.{other.__qualname__} already; choose another"
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
        """Return the family's classes, those below this one, by name."""
        cls.load()
        return [kind for _, kind in sorted(cls.registry.items()) if issubclass(kind, cls)]

    @classmethod
    def find(cls, name: str) -> type[Self]:
        """Return the family's class of that name.

        Raises
        ------
        SltGrokError
            There is none.
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
    """Import the plugins that other distributions name by an entry point."""
    for point in entry_points(group=GROUP):
        point.load()


def load_plugins(modules: Iterable[str], origin: str) -> None:
    """Import the modules that a configuration names.

    Parameters
    ----------
    modules : iterable of str
        Dotted names of importable modules; never paths of files.
    origin : str
        Named in errors.

    Raises
    ------
    SltGrokError
        A module that cannot be imported.
    """
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise SltGrokError(f"{origin}: plugins: cannot import {module!r} ({error})") from error
