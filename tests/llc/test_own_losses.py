"""A user-supplied loss: whether it has a finite minimizer, and whether it is a mean over samples, from what it does."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from slt_grok.errors import SltGrokError
from slt_grok.llc import SGLD, estimate
from slt_grok.llc.minimizers import loss_kind
from slt_grok.llc.problem import Problem

F = nn.functional
GENERATOR = torch.Generator().manual_seed(0)
LABELS = torch.arange(90) % 3
LOGITS = torch.randn(64, 3, dtype=torch.float64, generator=GENERATOR)
YES = (torch.arange(90) < 5).double()  # few, and all at the start
SHORT = {"sampler": SGLD(1e-4), "n_beta": 10.0, "gamma": 20.0, "chains": 2, "draws": 4, "burn_in": 0}


def own(outputs: Tensor, labels: Tensor) -> Tensor:
    return -outputs.log_softmax(-1).gather(1, labels[:, None])[:, 0]


def by_hand(outputs: Tensor, labels: Tensor) -> Tensor:
    """Overflows for large logits."""
    exponentials = outputs.exp()
    return -(exponentials / exponentials.sum(1, keepdim=True)).gather(1, labels[:, None]).log()


def stablemax(outputs: Tensor, labels: Tensor) -> Tensor:
    """Prieto et al. 2501.04697: a tail of 1/s instead of exp(-s)."""
    sizes = torch.where(outputs >= 0, outputs + 1, 1 / (1 - outputs.clamp(max=0)))
    return -(sizes / sizes.sum(1, keepdim=True)).gather(1, labels[:, None])[:, 0].log()


def at_temperature(temperature: float) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda outputs, labels: F.cross_entropy(outputs / temperature, labels)


def focal(outputs: Tensor, labels: Tensor) -> Tensor:
    right = outputs.softmax(1).gather(1, labels[:, None])[:, 0]
    return -((1 - right) ** 2) * right.log()


def one_hot_error(outputs: Tensor, labels: Tensor) -> Tensor:
    return (outputs - F.one_hot(labels, 3)) ** 2


def brier(outputs: Tensor, labels: Tensor) -> Tensor:
    return (outputs.softmax(1) - F.one_hot(labels, 3)) ** 2


@pytest.mark.parametrize(
    ("loss", "finite", "nats"),
    [
        (F.cross_entropy, False, True),
        (nn.CrossEntropyLoss(), False, True),
        (nn.CrossEntropyLoss(ignore_index=1), False, True),
        (own, False, True),
        (by_hand, False, True),
        (stablemax, False, True),
        (at_temperature(0.01), False, True),
        (at_temperature(100.0), False, True),
        (lambda o, y: own(o.float(), y), False, True),
        (lambda o, y: own(o, y) / math.log(2), False, False),  # in bits
        (focal, False, False),
        (brier, False, False),
        (nn.CrossEntropyLoss(label_smoothing=0.1), True, True),
        (nn.CrossEntropyLoss(label_smoothing=1e-4), True, True),
        (lambda o, y: own(o, y) + 1e-4 * o.logsumexp(1) ** 2, True, False),  # z-loss
        (nn.MultiMarginLoss(), True, False),
        (nn.MultiMarginLoss(p=2), True, False),
        (nn.MultiMarginLoss(margin=50), True, False),
        (one_hot_error, True, False),
        (lambda o, y: (o[:, 0] - y) ** 2, True, False),
    ],
)
def test_a_loss_of_labels_is_known_by_what_it_does(loss: Callable, finite: bool, nats: bool) -> None:
    assert loss_kind(loss, LOGITS, 64, LABELS) == (finite, nats, True)


@pytest.mark.parametrize(
    ("loss", "outputs", "targets", "finite"),
    [
        (nn.NLLLoss(), LOGITS.log_softmax(1), LABELS, False),
        (lambda o, y: -o.gather(1, y[:, None]).log(), LOGITS.softmax(1), LABELS, False),
        (F.binary_cross_entropy_with_logits, LOGITS[:, :1], YES[:, None], False),
        (F.binary_cross_entropy, LOGITS[:, :1].sigmoid(), YES[:, None], False),
        (lambda o, y: F.binary_cross_entropy_with_logits(o[:, 0], y.double()), LOGITS[:, :1], YES.long(), False),
        (nn.SoftMarginLoss(), LOGITS[:, 0], 2 * YES - 1, False),
        (F.cross_entropy, LOGITS, F.one_hot(LABELS).double(), False),
        (F.cross_entropy, LOGITS, F.one_hot(LABELS) * 0.8 + 0.1, True),
        (lambda o, y: (1 - o * y).clamp(min=0), LOGITS[:, 0], 2 * YES - 1, True),
        (F.mse_loss, LOGITS[:, :1], YES[:, None], True),
        (F.mse_loss, LOGITS, torch.randn(90, 3, generator=GENERATOR), True),
        (F.poisson_nll_loss, LOGITS[:, 0], torch.arange(90) % 7, True),
        (lambda o, _: o, LOGITS[:, 0], torch.zeros(90), True),
        # sequences: classes along the second axis, the last one, or with positions flattened
        (F.cross_entropy, torch.randn(64, 5, 3), torch.randint(5, (90, 3)), False),
        (lambda o, y: F.cross_entropy(o.mT, y), torch.randn(64, 3, 5), torch.randint(5, (90, 3)), False),
        (lambda o, y: F.cross_entropy(o, y.flatten()), torch.randn(64 * 3, 5), torch.randint(5, (90, 3)), False),
    ],
)
def test_a_loss_of_other_outputs_and_targets(loss: Callable, outputs: Tensor, targets: Tensor, finite: bool) -> None:
    assert loss_kind(loss, outputs.double(), 64, targets).finite_minimizer == finite


def classifier() -> tuple[nn.Linear, tuple[Tensor, Tensor]]:
    torch.manual_seed(0)
    return nn.Linear(4, 3), (torch.randn(90, 4), LABELS)


@pytest.mark.parametrize("loss", [own, stablemax])
def test_without_settings_it_is_treated_as_a_cross_entropy(loss: Callable) -> None:
    result = estimate(*classifier(), loss=loss, updates=200)
    assert result.attrs["n_beta"] == 90
    assert result.attrs["sampler"] == "adaptive"
    assert "no finite minimizer" in result.attrs["comment"]
    assert result.attrs["melting_loss"] == pytest.approx(math.log(3) / 2)
    assert result.llc_status.item() != "converged"


def test_the_same_cross_entropy_gives_the_same_estimate() -> None:
    one, other = (estimate(*classifier(), loss=loss, updates=200) for loss in (nn.CrossEntropyLoss(), own))
    np.testing.assert_allclose(one.loss_trace, other.loss_trace, rtol=1e-4)


@pytest.mark.parametrize("finite", [True, False])
def test_the_person_decides(finite: bool) -> None:
    for loss in (own, nn.MultiMarginLoss()):
        problem = Problem.from_inputs(*classifier(), loss, finite_minimizer=finite)
        assert problem.finite_minimizer == finite
        assert problem.melting_loss is None or (loss is own and not finite)
    result = estimate(*classifier(), loss=own, finite_minimizer=finite, **SHORT)
    assert ("comment" in result.attrs) != finite


@pytest.mark.parametrize("batch_size", [None, 10])
@pytest.mark.parametrize(
    ("loss", "targets"),
    [
        (nn.MSELoss(reduction="sum"), torch.linspace(0, 1, 90)[:, None].expand(90, 3)),
        (nn.CrossEntropyLoss(reduction="sum"), LABELS),
        (lambda o, y: own(o, y).sum() / 90, LABELS),
        (nn.MultiMarginLoss(reduction="sum"), LABELS),
        (lambda o, y: own(o, y).sum() + 1, LABELS),
    ],
)
def test_a_sum_over_samples_is_refused(loss: Callable, targets: Tensor, batch_size: int | None) -> None:
    module, (inputs, _) = classifier()
    for options in (SHORT, {}):
        with pytest.raises(SltGrokError, match="loss: expected the losses of the samples or their mean"):
            estimate(module, (inputs, targets), loss=loss, batch_size=batch_size, **options)


class Positions(nn.Module):
    """Outputs of all samples' positions in one long axis."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x).flatten(0, 1)


def test_a_sum_over_samples_and_positions_is_refused() -> None:
    inputs, targets = torch.randn(20, 5, 4), torch.randint(3, (20, 5))
    with pytest.raises(SltGrokError, match="loss: expected the losses of the samples or their mean"):
        estimate(Positions(), (inputs, targets), loss=lambda o, y: own(o, y.flatten()).sum(), **SHORT)
    assert np.isfinite(estimate(Positions(), (inputs, targets), loss=lambda o, y: own(o, y.flatten()), **SHORT).llc)


def test_a_sum_over_one_sample_is_refused() -> None:
    with pytest.raises(SltGrokError, match="loss: expected the losses of the samples or their mean"):
        estimate(nn.Linear(4, 3), (torch.ones(1, 4), torch.zeros(1, 3)), loss=nn.MSELoss(reduction="sum"), **SHORT)


def test_a_loss_that_fails_on_large_outputs_is_noted() -> None:
    def limited(outputs: Tensor, labels: Tensor) -> Tensor:
        if outputs.abs().max() > 100:
            raise ValueError("too large")
        return F.cross_entropy(outputs, labels)

    torch.manual_seed(0)
    module, data = nn.Linear(3, 3), (torch.randn(90, 3), LABELS)
    problem = Problem.from_inputs(module, data, limited)
    assert problem.finite_minimizer
    assert problem.notes == ("the loss fails on large outputs: a finite minimizer is assumed; pass finite_minimizer=",)
    for given in (True, False):
        problem = Problem.from_inputs(module, data, limited, finite_minimizer=given)
        assert problem.finite_minimizer is given
        assert not problem.notes
    assert not Problem.from_inputs(module, data).notes


@pytest.mark.parametrize(
    "loss",
    [nn.HuberLoss(), nn.SmoothL1Loss(), nn.L1Loss(), F.binary_cross_entropy, nn.BCEWithLogitsLoss(),
     nn.BCEWithLogitsLoss(pos_weight=torch.tensor([2.0]))],
)  # fmt: skip
def test_real_targets_have_the_precision_of_the_outputs(loss: Callable) -> None:
    torch.manual_seed(0)
    module, inputs = nn.Sequential(nn.Linear(4, 1), nn.Sigmoid()), torch.randn(90, 4)
    single, double = (
        estimate(module, (inputs, YES[:, None].to(dtype)), loss=loss, **SHORT)
        for dtype in (torch.float32, torch.float64)
    )
    np.testing.assert_array_equal(single.loss_trace, double.loss_trace)
    right = loss(module(inputs), YES[:, None].float()).item()
    assert single.baseline_loss.item() == pytest.approx(right, rel=1e-5)


def test_weights_of_classes_have_the_precision_of_the_outputs() -> None:
    loss = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0]))
    module, (inputs, labels) = classifier()
    result = estimate(module, (inputs, labels), loss=loss, **SHORT)
    assert result.baseline_loss.item() == pytest.approx(loss(module(inputs), labels).item(), rel=1e-5)
    assert loss.weight.dtype == torch.float32


def test_weights_of_classes_where_all_outputs_are_the_same() -> None:
    """As with a new head of zeros: which output belongs to which target makes no difference there."""
    loss = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 30.0]))
    module, (inputs, labels) = classifier()
    with torch.no_grad():
        module.weight.zero_()
        module.bias.copy_(torch.arange(3))
        right = loss(module(inputs), labels).item()
    assert estimate(module, (inputs, labels), loss=loss, **SHORT).baseline_loss.item() == pytest.approx(right, rel=1e-5)


def test_a_huber_loss_near_a_fit_has_the_llc_of_a_squared_error() -> None:
    torch.manual_seed(0)
    module, inputs = nn.Linear(3, 1), torch.randn(60, 3)
    result = estimate(module, (inputs, module(inputs).detach()), loss=nn.HuberLoss(), updates=600, chains=16)
    assert result.llc.item() == pytest.approx(2, rel=0.1)
