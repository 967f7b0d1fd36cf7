"""Classifiers as black boxes: images in, logits out; nobody looks inside."""

from gcd_core.classifiers.base import BlackBox, BudgetExceeded, Classifier, NoAnswer
from gcd_core.classifiers.network import TorchClassifier
from gcd_core.classifiers.registry import load_classifier

__all__ = [
    "BlackBox",
    "BudgetExceeded",
    "Classifier",
    "NoAnswer",
    "TorchClassifier",
    "load_classifier",
]
