"""The Diffusion Autoencoder: network, solvers, weights files, and the generator made of them."""

from gcd_core.generators.diffae.generator import DiffAE, Sampling

__all__ = ["DiffAE", "Sampling"]
