"""The models and the work in the background, for all visitors."""
