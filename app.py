"""The front door: read the settings, build the page, launch it."""

from __future__ import annotations

import argparse
import os
import sys

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
# The page computes in several threads, each with OpenMP workers of its own. GNU's OpenMP then lets
# them sleep at almost every barrier, which made decoding take up to twice as long; with these they
# wait a moment longer. Read when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "active")
os.environ.setdefault("GOMP_SPINCOUNT", "300000")

from gcd_core.domains import bundled_domains, load_domain
from gcd_core.errors import GCDError
from gcd_core.ui.page import build_page, launch_settings


def main() -> None:
    """Serves one domain until interrupted."""
    parser = argparse.ArgumentParser(description="GCD Explorer, the page.")
    parser.add_argument("--domain", default=os.environ.get("GCD_DOMAIN"))
    parser.add_argument("--host", default=os.environ.get("GRADIO_SERVER_NAME"))
    parser.add_argument("--port", type=int, default=None)
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    try:
        domain = load_domain(arguments.domain or bundled_domains()[0], device=arguments.device)
    except GCDError as error:
        sys.exit(f"error: {error}")
    page = build_page(domain)
    try:
        page.launch(server_name=arguments.host, server_port=arguments.port, **launch_settings())
    finally:
        page.explorer.close()


if __name__ == "__main__":
    main()
