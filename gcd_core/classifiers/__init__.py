"""Classifiers as black boxes: images in, logits out; nobody looks inside."""

from gcd_core.classifiers.base import BlackBox, Classifier, TorchClassifier, load_classifier

__all__ = ["BlackBox", "Classifier", "TorchClassifier", "load_classifier"]
