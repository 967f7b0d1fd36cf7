"""Training of the three networks of a domain: the codec, the diffusion autoencoder, the classifier."""
