"""The Diffusion Autoencoder: its network, its solvers, and the generator made of them."""
