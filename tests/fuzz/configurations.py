"""Configurations with one to three values or keys replaced by wrong ones, for tests and the fuzz harness."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from hypothesis import strategies as st

from tests.conftest import CONFIG

KEYS = ["name", "seeds", "task", "modulus", "d_mlp", "steps", "preset", "sampler", "<<", "", "a.b", "a\nb", "x" * 400]
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 12),
    st.sampled_from([2**31, 2**62, 2**63, -(2**70), 10**12, 10**4000]),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["", "050", "1:30", "yes", "1e-4", "n", "a\0b", "\ud800", "x" * 1000, "hot", "../a"]),
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | scalars, inner, max_size=3),
    max_leaves=6,
)


def places(content: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each place of nested content, as the collection and the key or index in it."""
    for key, part in content.items() if isinstance(content, dict) else enumerate(content):
        yield content, key
        if isinstance(part, dict | list):
            yield from places(part)


@st.composite
def configurations(draw: st.DrawFn, base: dict[str, Any] = CONFIG) -> dict[str, Any]:
    """Draw a mutated copy of a configuration."""
    content = deepcopy(base)
    for _ in range(draw(st.integers(1, 3))):
        parent, key = draw(st.sampled_from(list(places(content)) or [(content, "name")]))
        match draw(st.sampled_from(["replace", "delete", "add"])):
            case "delete":
                del parent[key]
            case "add" if isinstance(parent, dict):
                parent[draw(st.sampled_from(KEYS) | scalars)] = draw(values)
            case _:
                parent[key] = draw(values)
    return content
