"""The whole page: header, tabs, theme, and what happens when a visitor leaves."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder

from gcd_core.domains.opening import Domain
from gcd_core.environment import Environment
from gcd_core.files import bundled
from gcd_core.images.dataset import ImageFiles
from gcd_core.images.drawing import BRIGHTNESS
from gcd_core.method.loss import THRESHOLD
from gcd_core.ui.engine.sprite_sheets import heat_scale
from gcd_core.ui.gradio_workarounds import NO_SELF_CHECK, PatchedBlocks
from gcd_core.ui.session.registry import DiskCache, Visitors
from gcd_core.ui.tabs.about import build_about
from gcd_core.ui.tabs.compare import CompareTab
from gcd_core.ui.tabs.explore.events import ExploreTab
from gcd_core.ui.tabs.find import FindTab
from gcd_core.ui.tabs.globality import GlobalityTab
from gcd_core.ui.tabs.handler import connect
from gcd_core.ui.views.vocabulary import TOUR, WRITTEN, captions

ASSETS = bundled("assets")
OUTER = ASSETS / "outer.css"  # for what is not in Gradio's own root
SCRIPTS = (
    "page.js",
    "address.js",
    "keys.js",
    "compose.js",
    "film.js",
    "stage.js",
    "region.js",
    "words.js",
    "own.js",
    "doing.js",
    "save.js",
    "lost.js",
)  # the first defines `gcd`, the others add to it
MAX_UPLOAD = "50mb"  # as much as imaging accepts
CACHE_SECONDS = 3600
# Handlers that are under way at a time. Most of them wait: for a path that is being decoded, or for
# their turn with the networks. With Gradio's own 40 the others' moves would wait for those.
MAX_EVENTS_RUNNING = 512
MAX_EVENTS_WAITING = 256  # events that wait for such a place; a further one is refused


def header(domain: Domain, menu: str = "") -> str:
    """A link to the sliders, the page's title, the domain's or the domains' menu, and switches."""
    return (
        '<a class="gcd-skip" href="#directions">Skip to the sliders</a>'
        f'<div class="gcd-header"><h1>GCD Explorer</h1>{menu}'
        f"<span>{'' if menu else escape(domain.title)}<i>What would change the classifier&rsquo;s "
        "mind?</i></span>"
        "<em>Research use only &middot; not a medical device</em>"
        '<div class="gcd-page-tools" role="toolbar" aria-label="The page">'
        '<div class="gcd-words" role="group" aria-label="Words">'
        '<button type="button" data-words="plain">Plain</button>'
        '<button type="button" data-words="expert">Expert</button></div>'
        '<button id="tour" type="button" title="Show me around" aria-label="Show me around">?'
        "</button>"
        '<button id="theme" type="button" title="Light or dark" aria-label="Light or dark">'
        "</button></div></div>"
    )


def theme() -> gr.themes.Base:
    """Calm blues and slates in the system's own fonts; nothing is fetched from elsewhere."""
    return gr.themes.Base(
        primary_hue=gr.themes.colors.sky,
        secondary_hue=gr.themes.colors.sky,
        neutral_hue=gr.themes.colors.slate,
        radius_size=gr.themes.sizes.radius_md,
        spacing_size=gr.themes.sizes.spacing_sm,
        text_size=gr.themes.sizes.text_sm,
        font=["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"],
        font_mono=["ui-monospace", "Menlo", "Consolas", "monospace"],
    )


class ExplorerPage(PatchedBlocks):
    """The page for a loaded domain, ready to launch with `launch_settings`.

    Parameters
    ----------
    beside : Visitors, optional
        Those of another domain in this process.
    menu : str
        Of the domains to choose from, as HTML; empty where this is the only one.
    stored : DiskCache, optional
        Where what was decoded of the examples is kept on disk; by default it is not.
    images : ImageFiles, optional
        Which Globality walks in the place of the examples.
    limits : Environment, optional
        Of all domains' visitors together; with `beside`, that one's hold.
    """

    def __init__(
        self,
        domain: Domain,
        beside: Visitors | None = None,
        menu: str = "",
        stored: DiskCache | None = None,
        images: ImageFiles | None = None,
        limits: Environment | None = None,
    ) -> None:
        super().__init__(
            title="GCD Explorer",
            analytics_enabled=False,
            fill_width=True,
            delete_cache=(CACHE_SECONDS, CACHE_SECONDS),
        )
        # Whoever closes the page closes the visitors' sessions too.
        self.visitors = Visitors(domain, beside, stored, limits)
        self.service = self.visitors.service
        # Where Gradio keeps files: else it would keep copies, which do not go with their visitor.
        self.service.context.folder = Path(get_upload_folder())
        self.service.context.folder.mkdir(parents=True, exist_ok=True)
        with self:
            self._lay_out(domain, menu, images)
        self.max_threads = MAX_EVENTS_RUNNING
        self.queue(max_size=MAX_EVENTS_WAITING)

    def _lay_out(self, domain: Domain, menu: str, images: ImageFiles | None) -> None:
        gr.HTML(
            header(domain, menu), js_on_load="gcd.switchTheme(element)", apply_default_css=False
        )
        with gr.Tabs(selected="explore", elem_id="tabs") as tabs:
            with gr.Tab("Explore", id="explore"):
                explore = ExploreTab(self.visitors)
            with gr.Tab("Find directions", id="find") as find_tab:
                find = FindTab(self.visitors, explore)
            with gr.Tab("Compare directions", id="compare") as compare_tab:
                compare = CompareTab(self.visitors)
            with gr.Tab("Globality", id="globality") as globality_tab:
                globality = GlobalityTab(self.visitors, explore, images)
            with gr.Tab("About", id="about"):
                build_about(domain, self.service.context.limits.keep_minutes)
        explore.bind(self)
        find.bind(tabs, find_tab)
        compare.bind(compare_tab)
        globality.bind(tabs, globality_tab)
        forget = gr.Button("Forget me", visible="hidden", elem_id="forget-me")
        forgotten = connect(forget.click, self.forget, None, None, "forget")
        forgotten.success(None, None, None, js="gcd.forgotten", api_visibility="private")
        self.unload(self.leave)

    def leave(self, request: gr.Request) -> None:
        """Keeps the session of a visitor whose page has gone for a while, or ends it."""
        self.visitors.leave(request.session_hash)

    def forget(self, request: gr.Request) -> None:
        """Drops everything that is the visitor's, at once."""
        self.visitors.forget(request.session_hash)


def page_style() -> str:
    """The page's own style sheet."""
    return (ASSETS / "page.css").read_text(encoding="utf-8")


def page_script() -> str:
    """What the page does in the browser by itself."""
    scales = {"bb_lig": heat_scale(), "difference": heat_scale(BRIGHTNESS)}
    parts = [(ASSETS / name).read_text(encoding="utf-8") for name in SCRIPTS]
    settings = (
        f"gcd.setUp({json.dumps(scales)}, {THRESHOLD});",
        f"gcd.setWords({json.dumps(WRITTEN)}, {json.dumps(TOUR)}, {json.dumps(captions())});\n",
    )
    return "\n".join([*parts, *settings])


def page_settings() -> dict[str, Any]:
    """What a page needs to be served, wherever that is."""
    return {
        "theme": theme(),
        "css_paths": [ASSETS / "page.css"],
        # In the head it runs before the components are there, which call what it defines.
        "head": f"<style>\n{OUTER.read_text('utf-8')}</style><script>\n{page_script()}</script>",
        "max_file_size": MAX_UPLOAD,
        "footer_links": ["api"],
        # Else the browser keeps every event's pictures on disk, after the visitor has left too,
        # and writes all of them anew with each move.
        "run_history": False,
        "ssr_mode": False,
        "show_error": False,
    }


def launch_settings() -> dict[str, Any]:
    """What `launch` needs beside the address."""
    return {**page_settings(), "max_threads": MAX_EVENTS_RUNNING, **NO_SELF_CHECK}
