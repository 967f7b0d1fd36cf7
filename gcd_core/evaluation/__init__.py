"""Measuring directions, reconstructions and speed: metrics, evaluation, benchmark."""
