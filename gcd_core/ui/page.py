"""The whole page: header, tabs, theme, and what happens when a visitor leaves."""

from __future__ import annotations

from html import escape
from pathlib import Path

import gradio as gr

from gcd_core.ui.about import build_about
from gcd_core.ui.compare import CompareTab
from gcd_core.ui.explore import ExploreTab
from gcd_core.ui.find import FindTab
from gcd_core.ui.session import Explorer

ASSETS = Path(__file__).resolve().parents[2] / "assets"
MAX_UPLOAD = "50mb"  # as much as imaging accepts
CACHE_SECONDS = 3600


def header(domain) -> str:
    return (
        '<div class="gcd-header"><h1>GCD Explorer</h1>'
        f"<span>{escape(domain.title)}<i>What would change the classifier&rsquo;s mind? "
        "Drag a slider and see.</i></span>"
        "<em>Research use only &middot; not a medical device</em>"
        '<button id="theme" type="button" title="Light or dark" aria-label="Light or dark">'
        "</button></div>"
    )


SWITCH_THEME = """element.addEventListener('click', e => {
    if (e.target.closest('#theme')) document.body.classList.toggle('dark');
})"""

# A picture pasted anywhere on the page opens like an uploaded one.
PASTE = """() => document.addEventListener('paste', event => {
    const file = [...(event.clipboardData?.files || [])][0];
    const input = document.querySelector('#source input[type=file]');
    if (!file || !input) return;
    const transfer = new DataTransfer();
    transfer.items.add(file);
    input.files = transfer.files;
    input.dispatchEvent(new Event('change', { bubbles: true }));
})"""


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


def build_page(domain) -> gr.Blocks:
    """The page for a loaded domain, ready to launch with `launch_settings`."""
    explorer = Explorer(domain)
    with gr.Blocks(
        title="GCD Explorer",
        analytics_enabled=False,
        fill_width=True,
        delete_cache=(CACHE_SECONDS, CACHE_SECONDS),
    ) as page:
        gr.HTML(header(domain), js_on_load=SWITCH_THEME, apply_default_css=False)
        with gr.Tabs(selected="explore", elem_id="tabs") as tabs:
            with gr.Tab("Explore", id="explore"):
                explore = ExploreTab(explorer)
            with gr.Tab("Find directions", id="find") as find_tab:
                find = FindTab(explorer, explore)
            with gr.Tab("Compare directions", id="compare") as compare_tab:
                compare = CompareTab(explorer)
            with gr.Tab("About", id="about"):
                build_about(domain)
        explore.bind(page)
        find.bind(page, tabs, find_tab)
        compare.bind(compare_tab)
        page.load(None, None, None, js=PASTE)

        def leave(request: gr.Request) -> None:
            explorer.forget(request.session_hash)

        page.unload(leave)
    page.explorer = explorer
    return page


def launch_settings() -> dict:
    """What `launch` needs beside the address."""
    return {
        "theme": theme(),
        "css_paths": [ASSETS / "page.css"],
        "max_file_size": MAX_UPLOAD,
        "footer_links": ["api"],
        # Else the browser keeps every event's pictures on disk, after the visitor has left too,
        # and writes all of them anew with each move.
        "run_history": False,
        "ssr_mode": False,
        "show_error": False,
        "_frontend": False,  # skips one check only, which gives up where a machine takes 3 seconds
    }
