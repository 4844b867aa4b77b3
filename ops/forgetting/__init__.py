"""Forgetting: where text about a person can stand (``stores``), and the search that shows what is still there (``proof``)."""
