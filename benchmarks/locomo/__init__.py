"""Evidence recall on LoCoMo through the whole line, beside plain BM25. See ``__main__``."""
