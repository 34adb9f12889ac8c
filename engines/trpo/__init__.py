"""TRPO: Trust Region Policy Optimization (Schulman, Levine, Moritz, Jordan, Abbeel 2015, 1502.05477)."""
