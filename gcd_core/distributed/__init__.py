"""Work in parts, on one machine or many: the same rows in the same order."""
