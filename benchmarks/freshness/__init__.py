"""Time from publishing a turn to finding its memory. See ``__main__``."""
