"""Table and circuit of the script have the same logits, and its rule decides rows of known ratios."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import same_function_two_mechanisms as script
import torch

BETWEEN = (1.00, 1.01, 0.99, 1.02, 0.98)  # of the functions: mean log 0, so that effects are what is put in


def rows(table: float, curvature: float, padded: float) -> pd.DataFrame:
    """LLC and curvature of table over circuit with dead neurons, and LLC of padded over bare, all functions alike."""
    found: list[dict[str, Any]] = []
    for function, factor in enumerate(BETWEEN):
        for name, of in script.MECHANISMS.items():
            llc = 5.0 * (table if of == script.TABLE else 1.0) * (1.0 if name == of else padded * factor)
            trace = 3.0 * (curvature * factor if of == script.TABLE else 1.0)
            found.append({"function": function, "mechanism": name, "llc": llc, "gauss_newton_trace_unit": trace}
                         | {"weight_norm": 1.0, "llc_scaled": 1.0, "llc_squared": llc, "hessian_trace_own": 1.0}
                         | {"critical_bits": 4, "bits": 100})  # fmt: skip
    return pd.DataFrame(found)


@pytest.mark.parametrize(
    ("table", "curvature", "padded", "p3", "p4"),
    [
        (0.2, 3.0, 1.0, "supported", "supported"),
        (0.2, 1.0, 1.0, "refuted", "supported"),
        (1.0, 3.0, 1.15, "refuted", "refuted"),
        (5.0, 0.2, 1.05, "supported", "undecided at this power"),
    ],
)
def test_the_rule(table: float, curvature: float, padded: float, p3: str, p4: str) -> None:
    found = script.decide(rows(table, curvature, padded))
    assert found["P3"]["verdict"] == p3
    assert found["P4"]["verdict"] == p4
    ratio = found["log_table_over_circuit"]["curvature"]
    log_factors = np.log(BETWEEN).mean()
    assert ratio["value"] == pytest.approx(np.log(curvature) + log_factors)
    assert found["log_squared_padded_over_bare"]["table, off"]["value"] == pytest.approx(np.log(padded) + log_factors)


def test_all_mechanisms_of_a_function_have_its_logits() -> None:
    functions = script.functions()
    assert len({tuple(sorted(one)) for one in functions}) > 1
    for amplitudes in functions[:2]:
        networks = script.mechanisms(amplitudes)
        assert list(networks) == list(script.MECHANISMS)
        wanted = script.logits(networks[script.CIRCUIT])
        for name in script.OF_ONE_WIDTH:
            assert networks[name].network.shapes == networks[script.TABLE].network.shapes
        for one in networks.values():
            torch.testing.assert_close(script.logits(one), wanted, atol=1e-6, rtol=0)
        labels = networks[script.TABLE].task.labels
        assert torch.equal(wanted.argmax(-1), labels)
