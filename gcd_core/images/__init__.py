"""Pixels in, pixels out: limits, reading, DICOM, drawing, data sets."""
