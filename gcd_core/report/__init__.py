"""The page to take home: what it says, how it is laid out, how it is drawn."""
