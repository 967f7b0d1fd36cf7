"""Domains: a folder with a generator, classifiers, examples and directions, opened and checked."""

from gcd_core.domains.finding import bundled_domains
from gcd_core.domains.opening import Domain, load_domain

__all__ = ["Domain", "bundled_domains", "load_domain"]
