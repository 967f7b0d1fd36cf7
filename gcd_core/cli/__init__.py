"""The commands of `python -m gcd_core`, one file each: add_arguments(parser) and main(args)."""
