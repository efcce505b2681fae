"""What the page says about how far to trust the LLC."""

from slt_grok import report
from slt_grok.report import trust
from tests import synthetic


def said(sentences: list[str]) -> str:
    return " ".join(sentences).replace("\u00a0", " ")


def test_every_treatment_says_how_much_of_the_drop_it_leaves():
    text = said(trust.confound(synthetic.confound()))
    assert (
        "At fixed γ = 100 the effective LLC falls by 120.0 ± 4.2, 75% of its value, from step 400 to step 5,000."
        in text
    )
    # 180 / 120, with relative errors sqrt(18) / 180 and sqrt(18) / 120
    assert "at each checkpoint it falls by 180.0 ± 4.2, 90% of its value: 1.500 ± 0.064 times the drop" in text
    assert "(at one end the status is not converged)" in text
    assert "scaled to the last one's norm it rises by 10.0 ± 4.2, 100% of its value." in text
    assert "a train loss of 3.5 nats, as trained of 0.01: it no longer computes what it had learned" in text
    assert "there is no finite minimizer" in text


def test_a_rescaled_network_that_still_knows_is_not_called_another_function():
    data = synthetic.confound()
    data.baseline_loss[:] = 0.01
    assert "another function" not in said(trust.confound(data))


def test_every_seed_has_its_sentences():
    text = said(trust.confound(synthetic.confound(seeds=2)))
    assert "Seed 0: at fixed γ" in text
    assert "Seed 1: at fixed γ" in text


def test_calibration_shows_reasons_numbers_and_the_check():
    data = synthetic.calibration()
    assert trust.calibration(data) == data.attrs["reasons"]
    table = trust.calibration_table(data)
    assert table.header[6] == "LLC, batch 280"
    rows = [[cell.replace("\u00a0", " ") for cell in row] for row in table.rows]
    assert rows[0][0] == "400"
    assert rows[0][5:8] == ["150.0 ± 1.5", "153.0 ± 1.5", "149.0 ± 2.0"]
    assert rows[1][7] == "–"


def test_the_page_has_both(tmp_path):
    run = synthetic.write_run(tmp_path / "run", only=("training", "llc"))
    run.write_measurement("calibration", synthetic.calibration(), {})
    run.write_measurement("confound", synthetic.confound(), {})
    page = report.write(run.path).read_text()
    for text in ("Calibration of the LLC", "n_beta = 30: the smallest of others", "LLC and weight scale"):
        assert text in page
    for name in ("llc_by_step", "llc_by_gamma", "confound"):
        assert f'id="{name}"' in page
    assert "which this page does not show" not in page
