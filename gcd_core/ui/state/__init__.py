"""What the page holds: the domain's models, the visitors, and the threads that compute for them."""
