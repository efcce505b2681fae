"""The zoo: minima whose learning coefficient is known, and what the default estimator says about them."""
