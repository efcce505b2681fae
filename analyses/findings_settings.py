"""Say at which n_beta and gamma the LLCs of a result were measured.

Results that do not state `llc_settings` were measured at the hot setting, before n_beta = n became the default.

Usage: see `findings.py`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from findings_tables import load

from slt_grok.llc.settings import PRESETS

HOT = PRESETS["hot"]
HOT_OF_MOD113 = {"n_beta": 67.4, "gamma": 360.0}
WARNING = "*hot*: memorizing networks [melt](#melted-chains); to be measured anew"
MARK = "hot setting, to be measured anew"


def setting_text(llc: Mapping[str, Any]) -> str:
    """Format n_beta, a number or a rule, and gamma."""
    n_beta, gamma = (value if isinstance(value, str) else f"{value:g}" for value in (llc["n_beta"], llc["gamma"]))
    return f"nβ = {n_beta}, γ = {gamma}"


def is_hot(content: Mapping[str, Any]) -> bool:
    """Tell whether a result was measured at the hot setting."""
    return "llc_settings" not in content


def settings_text(content: Mapping[str, Any], before: Sequence[Mapping[str, Any]] = (HOT,)) -> str:
    """Format the settings of a result; `before` are those of results that do not state theirs."""
    return "; ".join(map(setting_text, content.get("llc_settings", before)))


def setting_line(name: str, before: Sequence[Mapping[str, Any]] = (HOT,)) -> str:
    """State the settings of a JSON in a sentence, with a warning if they are hot."""
    content = load(name)
    warning = f" ({WARNING})" if is_hot(content) else ""
    return f"Setting of the LLC: {settings_text(content, before)}{warning}."


def line_of(llc: Mapping[str, Any]) -> str:
    """State a setting in a sentence, with a warning if it is hot."""
    hot = llc["n_beta"] in (HOT["n_beta"], HOT_OF_MOD113["n_beta"])
    return f"Setting of the LLC: {setting_text(llc)}{f' ({WARNING})' if hot else ''}."
