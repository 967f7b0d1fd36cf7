"""Many visitors at once: what they do to a running page, and how long it takes to answer them."""
