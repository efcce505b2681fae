"""The zoo: minima with known learning coefficients, on which the default estimator is validated."""
