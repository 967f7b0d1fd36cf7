"""The page served: read the settings, build the page, launch it."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from functools import partial
from pathlib import Path

from gcd_core.domains.finding import bundled_domains, is_complete, list_domain
from gcd_core.domains.opening import load_domain
from gcd_core.environment import Environment
from gcd_core.errors import GCDError
from gcd_core.images.dataset import ImageFiles
from gcd_core.ui.engine.disk_cache import DiskCache
from gcd_core.ui.engine.worker import limit_torch_threads
from gcd_core.ui.server.app import Site
from gcd_core.ui.session.batch_walk import MAX_IMAGES

# The bundled domains that are offered where none is asked for, as far as they are there. The others
# are for who asks: chest-xray-vae is a comparison, the rest wait for weights from elsewhere.
OFFERED = ("chest-xray", "blood-cells")


def offered() -> list[str]:
    """The domains to serve where none is asked for, the first one first."""
    return [name for name in OFFERED if is_complete(name)] or bundled_domains()[:1]


def own_images(source: Path | str | None) -> ImageFiles | None:
    """The operator's images for Globality, at most as many as it takes; None for the examples."""
    return None if source is None else ImageFiles(Path(source), limit=MAX_IMAGES)


def log_events() -> None:
    """Write a JSON line of every event to the standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("gcd_core.events")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False


def options(settings: Environment) -> argparse.ArgumentParser:
    """What the command takes; the environment's settings are the defaults."""
    parser = argparse.ArgumentParser(description="GCD Explorer, the page.")
    parser.add_argument(
        "--domain",
        action="append",
        help="a bundled name, a folder or hf://owner/repo; given several times, the page has a "
        f"menu of them (default: {settings.domain or 'the bundled ones'})",
    )
    parser.add_argument(
        "--images",
        type=Path,
        default=settings.images,
        help="a folder or zip of images of the first domain, which Globality walks in the place of "
        "its examples, for every visitor",
    )
    parser.add_argument("--host", default=os.environ.get("GRADIO_SERVER_NAME"))
    parser.add_argument("--port", type=int, default=None)
    parser.add_argument("--device", default="auto")
    return parser


def main() -> None:
    """Serve one domain or several until interrupted."""
    try:
        settings = Environment()
        arguments = options(settings).parse_args()
        if settings.log:
            log_events()
        load = partial(load_domain, device=arguments.device)
        names = arguments.domain or ([settings.domain] if settings.domain else offered())
        first, *others = dict.fromkeys(names)
        entries = [list_domain(name) for name in others]
        domain = load(first)
        images = own_images(arguments.images)
        site = Site(domain, entries, load, DiskCache(), images, settings)
    except GCDError as error:
        sys.exit(f"error: {error}")
    service = site.root.service
    if service.one_thread:
        limit_torch_threads(service.compute)
    try:
        service.context.reader.begin()
        site.launch(server_name=arguments.host, server_port=arguments.port)
    finally:
        site.close()
