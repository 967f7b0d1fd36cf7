"""The front door: `python app.py` opens the page, as `gcd-explorer` does where it is installed."""

import gcd_core.ui.engine.hosting  # noqa: F401 - on a Space this imports `spaces`, before torch
from gcd_core.ui.serve import main

if __name__ == "__main__":
    main()
