"""Say at which n_beta and gamma the LLCs of a result were measured.

Results that do not state `llc_settings` were measured at the hot setting, before n_beta = n became the default.

Usage: see `findings.py`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from findings_tables import load

from slt_grok.llc.settings import PRESETS

Settings = Sequence[Mapping[str, Any]]
HOT = PRESETS["hot"]
HOT_OF_MOD113 = {"n_beta": 67.4, "gamma": 360.0}
WARNING = "*hot*: memorizing networks [melt](#melted-chains); to be re-measured"
MARK = "hot setting, to be re-measured"


def setting_text(llc: Mapping[str, Any]) -> str:
    """Format n_beta, a number or a rule, and gamma."""
    n_beta, gamma = (value if isinstance(value, str) else f"{value:g}" for value in (llc["n_beta"], llc["gamma"]))
    return f"nβ = {n_beta}, γ = {gamma}"


def settings_of(content: Mapping[str, Any], before: Settings = (HOT,)) -> Settings:
    """Get the settings of a result; `before` are those of results that do not state theirs."""
    return content.get("llc_settings", before)


def settings_text(settings: Settings) -> str:
    """Format several settings."""
    return "; ".join(map(setting_text, settings))


def is_hot(settings: Settings) -> bool:
    """Tell whether one of the settings is hot."""
    return any(llc["n_beta"] in (HOT["n_beta"], HOT_OF_MOD113["n_beta"]) for llc in settings)


def setting_line(name: str, before: Settings = (HOT,)) -> str:
    """State the settings of a JSON in a sentence, with a warning if one is hot."""
    return line_of(settings_of(load(name), before))


def line_of(settings: Settings) -> str:
    """State settings in a sentence, with a warning if one is hot."""
    return f"Setting of the LLC: {settings_text(settings)}{f' ({WARNING})' if is_hot(settings) else ''}."
