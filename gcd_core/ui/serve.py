"""The page served: read the settings, build the page, launch it."""

from __future__ import annotations

import argparse
import os
import sys

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
# Gradio sums up all events so far after each one, unless told to wait for more; and to keep few.
os.environ.setdefault("GRADIO_ANALYTICS_CACHE_FREQUENCY", "1000000")
os.environ.setdefault("GRADIO_ANALYTICS_MAX_EVENTS", "1")
from gcd_core.domains.finding import bundled_domains
from gcd_core.domains.opening import load_domain
from gcd_core.errors import GCDError
from gcd_core.ui.page import build_page, launch_settings
from gcd_core.ui.state.compute import leave_the_cores_to


def main() -> None:
    """Serve one domain until interrupted."""
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
    if page.explorer.one_thread:
        leave_the_cores_to(page.explorer.compute)
    try:
        page.launch(server_name=arguments.host, server_port=arguments.port, **launch_settings())
    finally:
        page.visitors.close()
