"""Whatever a configuration holds, it is read, or refused in one short sentence that names its file."""

from typing import Any

from hypothesis import HealthCheck, given, settings

from slt_grok.config import parse_config
from slt_grok.errors import LONGEST, SltGrokError
from tests.fuzz.configurations import configurations


@given(configurations())
@settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=(HealthCheck.too_slow, HealthCheck.large_base_example),
)
def test_a_configuration_is_read_or_refused_in_a_sentence(content: dict[str, Any]) -> None:
    try:
        parse_config(content, "c.yaml")
    except SltGrokError as error:
        message = str(error)
        assert message.startswith("c.yaml: ")
        assert len(message) <= LONGEST
        assert message.isprintable()
        assert "constrained" not in message
        assert "after validation" not in message
