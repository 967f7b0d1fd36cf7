"""The front door: `python app.py` opens the page, as `gcd-explorer` does where it is installed."""

from gcd_core.ui.serve import main

if __name__ == "__main__":
    main()
