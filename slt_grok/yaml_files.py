"""YAML files by the core schema of YAML 1.2: `yes`, `1:30` and `2024-12-05` are text, `1e-4` and `0o17` are numbers.

A number with a leading zero is text too: YAML 1.1 and 1.2 disagree about its value. Duplicate keys are refused.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from slt_grok.errors import SltGrokError, one_line, shown

# the implicit types: tag, pattern, first characters of what it may match
IMPLICIT = (
    ("null", r"~|null|Null|NULL|", "~nN"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(0|[1-9][0-9]*)|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
    ("merge", r"<<", "<"),
)
KEPT = ("null", "str", "seq", "map")  # types that are read as by PyYAML


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
    yaml_constructors = {
        tag: construct
        for tag, construct in yaml.SafeLoader.yaml_constructors.items()
        if tag in {f"tag:yaml.org,2002:{name}" for name in KEPT}
    }

    def compose_mapping_node(self, anchor: Any) -> Any:
        """Refuse duplicate keys instead of using the last one."""
        node = super().compose_mapping_node(anchor)
        keys = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if (key.tag, key.value) in keys:
                raise yaml.MarkedYAMLError(problem=f"duplicate key {shown(key.value)}", problem_mark=key.start_mark)
            keys.add((key.tag, key.value))
        return node


def _construct(name: str, convert: Callable[[str], Any]) -> Callable[[_Loader, yaml.Node], Any]:
    def construct(loader: _Loader, node: yaml.Node) -> Any:
        if isinstance(node, yaml.ScalarNode):
            try:
                return convert(node.value)
            except (KeyError, ValueError):  # a wrong explicit tag, or more digits than Python converts
                pass
        problem = f"no {name}: {shown(node.value) if isinstance(node, yaml.ScalarNode) else 'a collection'}"
        raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)

    return construct


def _unknown(_: _Loader, node: yaml.Node) -> Any:
    raise yaml.MarkedYAMLError(problem=f"unknown tag {shown(node.tag)}", problem_mark=node.start_mark)


for _name, _pattern, _first in IMPLICIT:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(f"^(?:{_pattern})$"), list(_first))
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile("^$"), [""])
_Loader.add_constructor(
    "tag:yaml.org,2002:bool", _construct("boolean", lambda t: {"true": True, "false": False}[t.lower()])
)
_Loader.add_constructor("tag:yaml.org,2002:int", _construct("integer", lambda t: int(t, 0)))
_Loader.add_constructor(
    "tag:yaml.org,2002:float", _construct("number", lambda t: float(re.sub(r"\.(?=[iInN])", "", t)))
)
_Loader.add_constructor(None, _unknown)  # pyright: ignore[reportArgumentType]


def read_yaml(path: Path) -> Any:
    """Read the content of a YAML file.

    Raises
    ------
    SltGrokError
        The file is missing, unreadable or not YAML, or a key occurs twice in a mapping.
    """
    try:
        if not path.is_file():
            raise SltGrokError(f"{path}: {'expected a file' if path.exists() else 'no such configuration file'}")
        return yaml.load(path.read_text(), _Loader)
    except SltGrokError as error:
        raise SltGrokError(one_line(error)) from error
    except (OSError, UnicodeDecodeError) as error:
        raise SltGrokError(one_line(f"{path}: expected a readable text file ({error})")) from error
    except RecursionError as error:
        raise SltGrokError(one_line(f"{path}: expected YAML (too many nested levels)")) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise SltGrokError(one_line(f"{path}: expected YAML ({error.problem}{where})")) from error
    except yaml.YAMLError as error:
        raise SltGrokError(one_line(f"{path}: expected YAML ({' '.join(str(error).split())})")) from error
