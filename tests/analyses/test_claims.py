"""The decision rules that read a study's table: the claim planted true, planted false, and too small to tell."""

from importlib import import_module

import numpy as np
import pandas as pd
import pytest

from slt_grok.errors import SltGrokError
from tests.analyses.planted import FALSE, SMALL, TRUE, decided, noisy, row, study

MODULI = (23, 31, 41, 53, 67, 83, 97, 113)


def moduli(addition: float, table: float, seeds: int, generator: np.random.Generator, loss: float = 1e-7, keys=3.0):
    """A study over p in which the LLC of both arms grows by these powers from 20 and 80 at p = 23."""
    rows = []
    for p in MODULI:
        for seed in range(seeds):
            number = max(1, round(noisy(keys if keys > 0 else 3 * (p / 23) ** -keys, generator, 0.02)))
            more = {"task__modulus": p, "key_frequencies": list(range(number))}
            llc = noisy(20 * (p / 23) ** addition, generator)
            rows.append(row("addition", seed, llc_final=llc, train_loss_final=loss, **more))
            llc = noisy(80 * (p / 23) ** table, generator)
            rows.append(row("random_table", seed, llc_final=llc, train_loss_final=1e-3, task__modulus=p))
            rows[-1]["outcome"] = "memorized"
    return study(rows)


@pytest.mark.parametrize(
    ("addition", "table", "seeds", "verdict"),
    [(1, 2, 3, TRUE), (1, np.log(20 / 80) / np.log(113 / 23) + 1, 3, FALSE), (1, 2, 1, SMALL)],
)
def test_p1(addition, table, seeds, verdict):
    assert decided("p1_structured_against_random", moduli(addition, table, seeds, np.random.default_rng(1))) == verdict


def test_p1_wants_an_equal_loss():
    unequal = moduli(1, 2, 3, np.random.default_rng(1), loss=1e-2)
    found = import_module("p1_structured_against_random").decide(unequal)
    assert found.verdict == SMALL
    assert sum("train loss is more than 2 times" in why for why in found.left_out) == len(MODULI)


@pytest.mark.parametrize(
    ("addition", "table", "seeds", "verdict"), [(1.1, 1.9, 3, TRUE), (0.3, 2, 3, FALSE), (1, 2, 2, SMALL)]
)
def test_linear_and_quadratic(addition, table, seeds, verdict):
    planted = moduli(addition, table, seeds, np.random.default_rng(2))
    assert decided("published_llc_against_modulus", planted) == verdict


@pytest.mark.parametrize(("power", "seeds", "verdict"), [(0.26, 5, TRUE), (1.0, 5, FALSE), (0.26, 2, SMALL)])
def test_number_of_frequencies(power, seeds, verdict):
    planted = moduli(1, 2, seeds, np.random.default_rng(3), keys=-power)
    assert decided("published_frequencies_against_modulus", planted) == verdict


@pytest.mark.parametrize(
    ("table", "seeds", "verdict"), [((60.0, 90.0), 5, TRUE), ((20.0, 30.0), 5, FALSE), ((60.0, 90.0), 2, SMALL)]
)
def test_p3(table, seeds, verdict):
    generator, rows = np.random.default_rng(4), []
    for arm, (llc, curvature) in (("main", (20.0, 30.0)), ("no_weight_decay", table)):
        for seed in range(seeds):
            numbers = {"llc_final": noisy(llc, generator)}
            numbers["final__landscape__gauss_newton_trace_unit_scale"] = noisy(curvature, generator)
            numbers["final__landscape__weight_norm"] = 20.0
            rows.append(row(arm, seed, **numbers))
            rows[-1]["outcome"] = "generalized" if arm == "main" else "memorized"
    assert decided("p3_mechanism_and_geometry", study(rows)) == verdict


@pytest.mark.parametrize(
    ("zero", "off", "seeds", "verdict"), [(1.01, 1.0, 5, TRUE), (1.2, 1.0, 5, FALSE), (1.0, 1.0, 2, SMALL)]
)
def test_p4(zero, off, seeds, verdict):
    generator = np.random.default_rng(5)
    rows = [
        {"run": "main", "seed": seed, "as trained": 16.0}
        | {name: noisy(16 * factor, generator, 0.012) for name, factor in (("zero", zero), ("off", off))}
        for seed in range(seeds)
    ]
    assert import_module("p4_dead_neurons").judged(pd.DataFrame(rows), []).verdict == verdict


@pytest.mark.parametrize(("power", "seeds", "verdict"), [(0.0, 3, TRUE), (0.5, 3, FALSE), (0.0, 2, SMALL)])
def test_p5(power, seeds, verdict):
    generator, rows = np.random.default_rng(6), []
    for arm, widths in (("neurons", (64, 128, 256, 512, 1024)), ("residual", (128, 384, 512))):
        for width in widths:
            for seed in range(seeds):
                llc = noisy(16 * (width / 64) ** power, generator)
                more = {"parameters": 100 * width, "llc_peak": 100.0}
                rows.append(row(arm, seed, model__d_mlp=width, llc_final=llc, **more))
    assert decided("p5_width", study(rows)) == verdict


@pytest.mark.parametrize(
    ("inside", "seeds", "verdict"), [(20, 20, TRUE), (7, 20, FALSE), (8, 8, SMALL), (14, 20, SMALL)]
)
def test_p6(inside, seeds, verdict):
    rows = []
    for seed in range(seeds):
        other = (seed - inside) % 3 if seed >= inside else None  # spread over the other three corners
        corner = (0.9, 0.3) if other is None else ((0.99, 0.3), (0.9, 0.8), (0.99, 0.8))[other]
        names = ("final__circuits__gradient_symmetricity", "final__circuits__distance_irrelevance")
        rows.append(row("main", seed, key_frequencies=[1, 2, 3], **dict(zip(names, corner, strict=True))))
    assert decided("p6_family_of_circuits", study(rows)) == verdict


def test_p6_counts_frequencies():
    names = ("final__circuits__gradient_symmetricity", "final__circuits__distance_irrelevance")
    numbers = [2, 5, 8, 11, 14] * 4  # one corner, but no usual number
    rows = [row("main", s, key_frequencies=list(range(n)), **dict.fromkeys(names, 0.5)) for s, n in enumerate(numbers)]
    assert decided("p6_family_of_circuits", study(rows)) == FALSE


@pytest.mark.parametrize(("growth", "seeds", "verdict"), [(-0.07, 20, TRUE), (0.3, 20, FALSE), (0.0, 5, SMALL)])
def test_llc_against_frequencies(growth, seeds, verdict):
    generator, rows = np.random.default_rng(7), []
    for seed in range(seeds):
        number = 2 + seed % 4
        llc = noisy(27 * np.exp(growth * (number - 2)), generator)
        rows.append(row("main", seed, llc_final=llc, key_frequencies=list(range(number))))
    assert decided("published_llc_against_frequencies", study(rows)) == verdict


def test_llc_against_one_number_of_frequencies():
    rows = [row("main", seed, llc_final=20.0 + seed, key_frequencies=[1, 2]) for seed in range(20)]
    assert decided("published_llc_against_frequencies", study(rows)) == SMALL


@pytest.mark.parametrize(("control", "seeds", "verdict"), [(0.1, 5, TRUE), (0.8, 5, FALSE), (0.1, 2, SMALL)])
def test_drop(control, seeds, verdict):
    generator, rows = np.random.default_rng(8), []
    for arm, drop in (("main", 0.85), ("never_generalizes", control), ("random_table", control)):
        for seed in range(seeds):
            rows.append(row(arm, seed, llc_peak=100.0, llc_drop=noisy(100 * drop, generator)))
            rows[-1]["outcome"] = "generalized" if arm == "main" else "memorized"
    assert decided("published_drop_of_grokking_runs", study(rows)) == verdict


def test_a_run_that_failed_is_named():
    rows = [row("main", seed, llc_final=16.0 + seed, key_frequencies=[1] * (2 + seed % 3)) for seed in range(12)]
    rows[3] |= {"status": "failed", "reason": "llc: diverged"}
    rows[4] |= {"outcome": "memorized"}
    rows[5] |= {"llc_final": np.nan}
    found = import_module("published_llc_against_frequencies").decide(study(rows))
    assert len(found.seen) == 9
    assert found.left_out == [
        "main, seed 3: failed (llc: diverged)",
        "main, seed 4: memorized, the rule wants generalized",
        "main, seed 5: no llc_final",
    ]
    with pytest.raises(SltGrokError, match="expected the columns llc_peak"):
        import_module("published_notebook_curve").decide(study(rows))


@pytest.mark.parametrize("status", ["melted", "diverged"])
def test_a_seed_whose_last_llc_says_nothing_is_omitted_by_name(status):
    """Its `llc_final` is that of an earlier checkpoint; a rule that does not read the LLC keeps the seed."""
    rows = [row("main", seed, llc_final=16.0, final__llc__llc_status="effective") for seed in range(4)]
    rows[2]["final.llc.llc_status"] = status
    tables = import_module("tables")
    kept, left_out = tables.usable(study(rows), ["llc_final"], arm="main")
    assert kept.seed.tolist() == [0, 1, 3]
    assert left_out == [f"main, seed 2: the LLC at the end is {status}"]
    assert len(tables.usable(study(rows), [], arm="main")[0]) == 4
