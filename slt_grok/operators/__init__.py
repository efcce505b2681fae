"""Derivatives of a network's loss and outputs as linear operators: Hessian, Gauss-Newton matrix, Jacobian, spectra."""
