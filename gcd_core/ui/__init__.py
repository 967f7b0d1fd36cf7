"""The page: layout, event handlers, session state, plots."""
