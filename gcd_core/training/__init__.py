"""Training of a domain's networks: the codec, the diffusion autoencoder, the classifier."""

# What `python -m gcd_core train` can be asked for, the module that does it, and what it says of it.
# Each module has add_arguments(parser) and main(args), and is imported only when it is asked for.
TRAININGS = {
    "diffae": ("gcd_core.training.diffae", "train a diffusion autoencoder"),
    "distilled": ("gcd_core.training.distilled", "distil a decoder of a few steps"),
    "classifier": ("gcd_core.training.classifier", "train a classifier"),
    "vae": ("gcd_core.training.vae", "train the codec under a diffusion autoencoder"),
    "bridge": ("gcd_core.training.bridge", "train a bridge that fills in what a mask hides"),
    "examples": ("gcd_core.training.examples", "make synthetic example images"),
}
