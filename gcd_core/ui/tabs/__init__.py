"""The tabs of the page: components, handlers and the events that connect them."""
