"""What answers a browser: the domains' pages in one server, its limits and its menu."""
