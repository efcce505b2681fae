"""Settings: the content of a configuration file, checked once, with a one-sentence message for any error.

A section of a configuration is either a `Settings` model or an object of a registered family whose constructor defines
its schema, such as `sampler: {name: underdamped, step_size: 0.01}`.
"""

import difflib
import inspect
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, TypeVar, Union, get_args, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, PlainValidator, ValidationError, create_model
from pydantic_core import ErrorDetails, PydanticCustomError
from torch import Tensor

from slt_grok.errors import SltGrokError
from slt_grok.registry import Registered

Positive = Annotated[int, Field(gt=0, lt=2**63)]
NonNegative = Annotated[int, Field(ge=0, lt=2**63)]
AboveZero = Annotated[float, Field(gt=0)]


class Settings(BaseModel):
    """Base of all settings: unknown keys, NaN, infinity and wrong defaults are rejected."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True, validate_default=True)

    def check_network(self, network: Any, key: str) -> None:
        """Check what depends on the network and its task.

        Parameters
        ----------
        network : Network
            The network with its task.
        key : str
            Key of the section, for error messages.

        Raises
        ------
        SltGrokError
            A value that this network does not allow.
        """


S = TypeVar("S", bound=BaseModel)


def parse_settings(kind: type[S], content: Any, origin: str, keys: str = "settings") -> S:
    """Validate plain data as settings of a kind.

    Parameters
    ----------
    kind : type
        Class of the settings.
    content : object
        Content of a file.
    origin : str
        Name of the source in error messages.
    keys : str, optional
        Description of the expected keys, for error messages.

    Raises
    ------
    SltGrokError
        The content is not a mapping, or a key or value is wrong; the message names the first one.
    """
    if not isinstance(content, Mapping):
        raise SltGrokError(f"{origin}: expected a mapping with {keys}, got {content!r}")
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise SltGrokError(f"{origin}: {sentence(error, kind)}") from error
    except SltGrokError as error:
        raise SltGrokError(f"{origin}: {error}") from error


def sentence(error: ValidationError | ErrorDetails, kind: type[BaseModel]) -> str:
    """Format an error of settings of a kind as `key: expected ..., got ...`.

    Of several errors, that is the first unknown key, since a misspelled key is also a missing one, or else the first.
    """
    errors = error.errors() if isinstance(error, ValidationError) else [error]
    first = next((each for each in errors if each["type"] == "extra_forbidden"), errors[0])
    key = ".".join(map(str, first["loc"]))
    match first["type"]:
        case "extra_forbidden":
            return f"{key}: unknown key; {_suggestion(str(first['loc'][-1]), _keys(kind, first['loc'][:-1]))}"
        case "missing":
            return f"{key}: this key is missing"
        case "value_error":
            message = first["msg"].removeprefix("Value error, ")
            return f"{key}.{message}" if key else message
        case _:
            message = first["msg"].removeprefix("Input should be ").removeprefix("a ").removeprefix("an ")
            return f"{key}: expected {message}, got {first['input']!r}"


def _suggestion(key: str, keys: Collection[str]) -> str:
    """List the keys that exist, and ask whether the closest one was meant."""
    close = difflib.get_close_matches(key, keys, 1)
    listed = f"expected one of {', '.join(keys)}" if keys else "expected no further keys"
    return f"{listed}; did you mean {close[0]}?" if close else listed


def _keys(kind: type[BaseModel], place: tuple[int | str, ...]) -> Collection[str]:
    """List the keys of the settings at a place within settings of a kind."""
    for part in place:  # a part that is no field is a place in a list or mapping of settings
        if field := kind.model_fields.get(str(part)):
            kind = next(_models(field.annotation), kind)
    return kind.model_fields


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the settings within an annotation, such as those of `dict[str, Arm] | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


@cache
def schema(kind: type) -> type[Settings]:
    """Build settings from the signature of a class's constructor.

    Tensor-valued parameters, with one value per chain or network, cannot appear in a file: they are removed from
    unions.
    """
    hints = get_type_hints(kind.__init__, include_extras=True)
    fields: dict[str, Any] = {}
    for name, parameter in inspect.signature(kind).parameters.items():
        if name in getattr(kind, "given", ()):
            continue
        hint = hints.get(name, Any)
        if Tensor in get_args(hint):
            hint = Union[tuple(part for part in get_args(hint) if part is not Tensor)]  # noqa: UP007
        fields[name] = (hint, ... if parameter.default is parameter.empty else parameter.default)
    return create_model(kind.__name__, __base__=Settings, **fields)


@dataclass(frozen=True)
class Deferred:
    """A registered class with its settings, constructed once its other arguments are known.

    Parameters
    ----------
    kind : type
        The class to construct.
    settings : Settings
        Settings from the configuration, complete with defaults.
    """

    kind: Any
    settings: Settings

    def construct(self, **arguments: Any) -> Any:
        """Construct the object from these arguments and the settings."""
        return self.kind.create(**arguments, **dict(self.settings))


def section(family: type[Registered], tag: str, default: str | None = None, deferred: bool = False) -> Any:
    """Build the type of a configuration section that is an object of a family, `{tag: NAME, **its settings}`.

    Parameters
    ----------
    family : type
        The family, whose members are looked up when a configuration is read, so that plugins are included.
    tag : str
        Key that holds the name.
    default : str, optional
        Name to use if the section has none.
    deferred : bool, optional
        Whether to keep a `Deferred` instead of the object, for constructors with arguments beyond the section.
    """
    result: Any = Deferred if deferred else family

    def read(content: Any) -> Any:
        if isinstance(content, result):
            return content
        if not isinstance(content, Mapping):
            raise PydanticCustomError("mapping", "mapping")
        settings = {tag: default, **content}
        try:
            kind = family.find(settings.pop(tag))
        except SltGrokError as error:
            raise ValueError(f"{tag}: {error}") from error
        try:
            complete = Deferred(kind, schema(kind).model_validate(settings))
        except ValidationError as error:
            raise ValueError(sentence(error, schema(kind))) from error
        return complete if deferred else complete.construct()

    def write(value: Any) -> dict[str, Any]:
        kind, source = (value.kind, value.settings) if deferred else (type(value), value)
        values = {key: getattr(source, key) for key in schema(kind).model_fields}
        return {tag: kind.name, **{key: list(v) if isinstance(v, tuple) else v for key, v in values.items()}}

    return Annotated[result, PlainValidator(read), PlainSerializer(write)]


def check(instance: Any, origin: str) -> None:
    """Check the fields of a dataclass against their annotations.

    Parameters
    ----------
    instance : object
        An instance of the dataclass.
    origin : str
        Its key in a configuration, for error messages.

    Raises
    ------
    SltGrokError
        A value is out of range; the message names it as `origin.field`.
    """
    kind = schema(type(instance))
    values = {key: getattr(instance, key) for key in kind.model_fields}
    try:
        kind.model_validate({key: value for key, value in values.items() if not isinstance(value, Tensor)})
    except ValidationError as error:
        wrong = [details for details in error.errors() if details["type"] != "missing"]  # missing fields are tensors
        if wrong:
            raise SltGrokError(f"{origin}.{sentence(wrong[0], kind)}") from error
