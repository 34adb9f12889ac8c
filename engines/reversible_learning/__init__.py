"""Gradient-based Hyperparameter Optimization through Reversible Learning (Maclaurin, Duvenaud, Adams 2015)."""
