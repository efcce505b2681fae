"""Settings: the content of a configuration file, checked once, with a one-sentence message for any error.

A section of a configuration is either a `Settings` model or an object of a registered family whose constructor defines
its schema, such as `sampler: {name: underdamped, step_size: 0.01}`.
"""

import difflib
import inspect
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from textwrap import shorten
from typing import Annotated, Any, Self, TypeVar, Union, get_args, get_type_hints

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    PlainSerializer,
    PlainValidator,
    ValidationError,
    create_model,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError
from torch import Tensor

from slt_grok.errors import SltGrokError, one_line, shown
from slt_grok.registry import Registered

DEEPEST, MOST_VALUES = 32, 200_000  # levels and values of a file
EXPONENT = re.compile(r"[-+]?\d+[eE][-+]?\d+")  # a number that YAML 1.1 reads as text, so that old manifests hold it
LISTED = 150  # characters of a list of keys

WORDS = {
    "int": "an integer",
    "float": "a number",
    "finite": "a finite number",
    "string": "text",
    "bool": "true or false",
    "list": "a list",
    "tuple": "a list",
    "dict": "a mapping",
    "model": "a mapping",
    "mapping": "a mapping",
}
"""What is expected, by the first word of pydantic's type of an error."""

Positive = Annotated[int, Field(gt=0, lt=2**63)]
NonNegative = Annotated[int, Field(ge=0, lt=2**63)]
AboveZero = Annotated[float, Field(gt=0)]


class Settings(BaseModel):
    """Base of all settings: unknown keys, NaN, infinity and wrong defaults are rejected."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True, validate_default=True)

    @model_validator(mode="wrap")
    @classmethod
    def _convert_no_kinds(cls, content: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Refuse booleans and text for numbers, and numbers and text for booleans, which pydantic converts."""
        settings = handler(content)
        if isinstance(content, Mapping):
            for key in cls.model_fields.keys() & content.keys():
                _check_kind(content[key], getattr(settings, key), key)
        return settings

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
        raise SltGrokError(one_line(f"{origin}: expected a mapping with {keys}, got {shown(content)}"))
    try:
        _check_plain(content)
        return kind.model_validate(content)
    except ValidationError as error:
        raise SltGrokError(one_line(f"{origin}: {sentence(error, kind)}")) from error
    except SltGrokError as error:
        raise SltGrokError(one_line(f"{origin}: {error}")) from error


def _check_plain(content: Mapping[Any, Any]) -> None:
    """Check that content of a file can be stored and shown: its depth, its length, its keys and its integers."""
    places: list[tuple[tuple[Any, ...], Any]] = [((), content)]
    for place, value in places:  # which grows
        if len(places) > MOST_VALUES or len(place) > DEEPEST:
            raise SltGrokError(f"{place[0]}: expected at most {DEEPEST} levels and {MOST_VALUES} values in a file")
        if isinstance(value, int) and not -(2**63) < value < 2**63:
            got = f"one of {value.bit_length()} bits"
            raise SltGrokError(f"{_key(place)}: expected an integer between -2^63 and 2^63, got {got}")
        if isinstance(value, Mapping):
            if other := [each for each in value if not isinstance(each, str)]:
                raise SltGrokError(f"{_key((*place, 'keys'))}: expected text, got {shown(other[0])}")
            places += [((*place, name), part) for name, part in value.items()]
        elif isinstance(value, list | tuple):
            places += [((*place, index), part) for index, part in enumerate(value)]


def _key(place: Iterable[int | str]) -> str:
    return ".".join(str(part) or "''" for part in place)


def _check_kind(written: Any, read: Any, key: str) -> None:
    """Check that a number, or a boolean, was written as one."""
    if isinstance(read, bool):
        if isinstance(written, int | float | str) and not isinstance(written, bool):
            raise ValueError(f"{key}: expected true or false, got {shown(written)}")
    elif isinstance(read, int | float):
        if isinstance(written, bool) or (isinstance(written, str) and not EXPONENT.fullmatch(written)):
            raise ValueError(f"{key}: expected a number, got {shown(written)}")
    elif isinstance(read, list | tuple) and isinstance(written, list | tuple):
        for index, pair in enumerate(zip(written, read, strict=False)):
            _check_kind(*pair, f"{key}.{index}")


def sentence(error: ValidationError | ErrorDetails, kind: type[BaseModel]) -> str:
    """Format an error of settings of a kind as `key: expected ..., got ...`.

    Of several errors, that is the first unknown key, since a misspelled key is also a missing one, or else the first.
    """
    errors = error.errors() if isinstance(error, ValidationError) else [error]
    first = next((each for each in errors if each["type"] == "extra_forbidden"), errors[0])
    key, limits = _key(first["loc"]), first.get("ctx", {})
    match first["type"]:
        case "extra_forbidden":
            return f"{key}: unknown key; {_suggestion(str(first['loc'][-1]), _keys(kind, first['loc'][:-1]))}"
        case "missing":
            return f"{key}: this key is missing"
        case "value_error":
            message = first["msg"].removeprefix("Value error, ")
            return f"{key}.{message}" if key else message
        case "too_short":
            expected = f"{limits['min_length']} or more entries"
        case "too_long":
            expected = f"{limits['max_length']} or fewer entries"
        case "int_parsing_size":
            expected = "an integer below 2^63"
        case "string_pattern_mismatch":
            expected = f"text that matches {limits['pattern']}"
        case type_:
            message = first["msg"].removeprefix("Input should be ").removeprefix("a ").removeprefix("an ")
            expected = WORDS.get(type_.split("_")[0], message)
    return f"{key or kind.__name__}: expected {expected}, got {shown(first['input'])}"


def _suggestion(key: str, keys: Collection[str]) -> str:
    """List the keys that exist, and ask whether the closest one was meant."""
    close = difflib.get_close_matches(key, keys, 1)
    some = shorten(", ".join(keys), LISTED, placeholder=" ...")
    listed = f"expected one of {some}" if keys else "expected no further keys"
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
