"""A user-supplied module as a model: what the named function returns."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from slt_grok import user_code
from slt_grok.models.adapter import Adapter
from slt_grok.models.model import At, Model, passthrough


class CustomModule(Model):
    """A module from the user's Python file.

    `create` returns the module itself, or an `Adapter` around it if sites are given.

    Parameters
    ----------
    tokens : int
        Number of tokens.
    build : str
        Reference to a function without arguments that returns the module; see `slt_grok.user_code`.
    sites, roles, position, quadratic : optional
        See `slt_grok.models.Adapter`; the module then takes pairs of tokens, and circuits can be measured.
    classes : int, optional
        Number of classes of the task; the module decides how many outputs it has.

    Raises
    ------
    CodeError
        The user's code cannot be executed, or returns no module.
    SltGrokError
        Sites or roles do not fit the module, see `Adapter`.
    """

    name: ClassVar[str] = "custom"

    def __init__(
        self,
        tokens: int,
        build: str,
        sites: dict[str, str] | None = None,
        roles: dict[str, tuple[str, int]] | None = None,
        position: int | None = None,
        quadratic: bool = False,
        classes: int | None = None,
    ) -> None:
        super().__init__(tokens, classes)
        module = user_code.call(build)
        if not isinstance(module, nn.Module):
            raise user_code.CodeError(
                f"{user_code.short(build)}: expected it to return a torch.nn.Module, got {module!r}"
            )
        if sites or roles:
            module = Adapter(module, tokens, sites or {}, roles or {}, position=position, quadratic=quadratic)
        self.module = module

    @classmethod
    def create(cls, **settings: Any) -> nn.Module:
        """Build the module.

        Parameters
        ----------
        **settings
            The parameters of this class.

        Raises
        ------
        CodeError, SltGrokError
            As for this class.
        """
        return cls(**settings).module

    def initialize(self, generator: torch.Generator) -> None:
        """Not available: `create` returns another module."""
        raise NotImplementedError

    def forward(self, pairs: Tensor, at: At = passthrough) -> Tensor:
        """Not available: `create` returns another module."""
        raise NotImplementedError
