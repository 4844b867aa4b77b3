"""The write side: Faust agents (admit, extract, decide, embed), the pure decider and its protocol, parking, producers."""
