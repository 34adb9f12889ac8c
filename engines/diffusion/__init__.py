"""Diffusion: Deep Unsupervised Learning using Nonequilibrium Thermodynamics (Sohl-Dickstein et al. 2015, 1503.03585)."""
