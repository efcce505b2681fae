"""Atomic file access: write to a temporary name, then rename; every error is one sentence.

Reading a tensor file never executes code from it: only safetensors, and pickles restricted to tensors and plain
containers (`weights_only=True`), are read.
"""

import json
import os
import re
import uuid
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from slt_grok.errors import SltGrokError
from slt_grok.format import first_line

TEMPORARY = ".part"  # the suffix of temporary names; leftovers of killed processes are removed by `locked`
CONFIGS = ("transformer_lens.HookedTransformerConfig.HookedTransformerConfig",)


class Settings:
    """Stands in for a configuration object of another library (`CONFIGS`): its attributes are read, none of its code.

    Its class is never looked up, so the library need not be installed.
    """


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`; rename it to `path` if the block succeeds, remove it otherwise.

    Raises
    ------
    SltGrokError
        The file cannot be written (full disk, no permission); an existing file at `path` is left unchanged.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}{TEMPORARY}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SltGrokError(f"{path}: cannot be written ({reason}); any previous file is unchanged") from error
    finally:
        with suppress(OSError):  # it was renamed, or could not be created
            temporary.unlink()


def check_regular(path: Path) -> None:
    """Check that a path that exists is a regular file; reading a FIFO or a device might never end.

    Raises
    ------
    SltGrokError
        It is something else.
    """
    if path.exists() and not path.is_file():
        raise SltGrokError(f"{path}: expected a regular file, got a directory, FIFO or device; name a file")


def write_json(path: Path, content: Any) -> None:
    """Write `content` as indented JSON, atomically."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, default=str) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds a mapping.

    Raises
    ------
    SltGrokError
        The file is missing, is not JSON or holds something else.
    """
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise SltGrokError(f"{path}: no such file") from error
    except (OSError, ValueError) as error:
        raise SltGrokError(f"{path}: expected a readable JSON file ({error})") from error
    if not isinstance(content, dict):
        raise SltGrokError(f"{path}: expected a JSON file with keys, got a {type(content).__name__}")
    return content


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write named tensors as safetensors, atomically."""
    with atomic(path) as temporary:
        save_file({k: v.detach().contiguous() for k, v in tensors.items()}, temporary, dict(metadata or {}))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read the named tensors and the string metadata of a safetensors file.

    Raises
    ------
    SltGrokError
        The file is missing, truncated or in another format.
    """
    check_regular(path)
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except FileNotFoundError as error:
        raise SltGrokError(f"{path}: no such checkpoint") from error
    except (SafetensorError, OSError) as error:
        raise SltGrokError(f"{path}: expected a complete safetensors file ({error})") from error


def read_torch(path: Path) -> Any:
    """Read a `torch.save` file, restricted to tensors and plain containers.

    Raises
    ------
    SltGrokError
        The file is missing, truncated, or holds objects that could only be read by executing code.
    """
    check_regular(path)
    try:
        stand_ins: list[Any] = [(Settings, name) for name in CONFIGS]
        # torch's complaint goes into the error below
        with warnings.catch_warnings(action="ignore"), torch.serialization.safe_globals(stand_ins):
            return torch.load(path, weights_only=True, map_location="cpu")
    except FileNotFoundError as error:
        raise SltGrokError(f"{path}: no such checkpoint") from error
    except Exception as error:  # torch raises many kinds of errors for truncated or foreign files
        message = str(error).strip()
        wanted = re.search(r"GLOBAL (\S+)", message)
        if wanted:
            raise SltGrokError(
                f"{path}: refused, since reading it would execute code of {wanted[1]}; load it where you trust it, "
                f"and save model.state_dict() instead of a module, with plain numbers, lists and tensors only"
            ) from error
        if "TorchScript" in message:
            raise SltGrokError(
                f"{path}: refused, since it is a TorchScript archive of torch.jit.save, which holds code; load it "
                f"where you trust it by torch.jit.load, and save model.state_dict() by torch.save"
            ) from error
        reason = first_line(error)
        if "weights_only" in reason:  # torch would advise executing the file's content
            reason = "refused: it is not a torch file, or a pickle that could execute code"
        raise SltGrokError(
            f"{path}: expected a complete torch checkpoint of tensors and plain containers ({reason})"
        ) from error
