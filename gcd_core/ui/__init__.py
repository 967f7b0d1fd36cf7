"""The page: layout, event handlers, session state, plots."""

import os

# Before Gradio is imported: it reports nothing to its makers, and does not sum up all events so far
# after each one, which takes ever more time and memory, nor keep them.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("GRADIO_ANALYTICS_CACHE_FREQUENCY", "1000000")
os.environ.setdefault("GRADIO_ANALYTICS_MAX_EVENTS", "1")
