"""The bridge: an image-to-image Schroedinger bridge, and RCSB, which steers it by a gradient."""
