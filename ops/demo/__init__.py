"""The demo: a sample conversation through the whole line on services of its own, with every claim checked by itself."""
