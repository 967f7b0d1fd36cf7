"""Training of a domain's networks: the codec, the diffusion autoencoder, the classifier."""
