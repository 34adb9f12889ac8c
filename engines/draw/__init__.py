"""DRAW: a recurrent network that draws pictures stroke by stroke (Gregor et al. 2015); engine side, no Qt."""
