"""Pictures in frames, as HTML."""

from __future__ import annotations

from html import escape

SAVE = (
    '<button type="button" class="gcd-save" data-save title="Save as PNG" aria-label="Save as PNG">'
    '<svg viewBox="0 0 14 14" aria-hidden="true"><path d="M7 1v8M3.5 6 7 9.5 10.5 6M1.5 12.5h11"/>'
    "</svg></button>"
)


def image_tag(address: str, alt: str, css: str = "") -> str:
    """Return an image tag with a text for those who do not see the picture."""
    named = f' class="{css}"' if css else ""
    return f'<img{named} src="{address}" alt="{escape(alt)}" decoding="sync" draggable="false">'


def figure(title: str, note: str, body: str, css: str = "", below: str = "") -> str:
    """Return a framed picture with its title, a note, and more below; all arguments are HTML."""
    title = title if title.startswith("<b") else f"<b>{title}</b>"
    return (
        f'<figure class="{css}"><div class="frame">{body}</div>'
        f'<figcaption>{title}<span class="note">{note}</span>{SAVE}</figcaption>{below}</figure>'
    )
