"""One variable of the circuit dataset: its dimensions, formula and source."""

NANDA = "Nanda et al. 2301.05217"
ZHONG = "Zhong et al. 2306.17844"
SUM = "s = a + b (a - b for subtraction)"
SUM_MASK = f"S_k = span of cos w_k s and sin w_k s with {SUM}"

Variable = tuple[tuple[str, ...], dict[str, str]]


def variable(dims: tuple[str, ...], long_name: str, definition: str, source: str, units: str = "") -> Variable:
    """Dimensions beside the trajectory's own, and attributes."""
    attrs = {"long_name": long_name, "definition": definition, "source": source}
    return dims, attrs | ({"units": units} if units else {})


def loss(long_name: str, definition: str, source: str) -> Variable:
    """Return a loss on train, test and all pairs."""
    return variable(("split",), long_name, definition, source, "nats")


def accuracy(long_name: str, definition: str, source: str) -> Variable:
    """Return an accuracy on train, test and all pairs."""
    return variable(("split",), long_name, f"share of pairs whose largest logit is the label's, {definition}", source)
