"""Benchmarks with one interface: ``python -m benchmarks.NAME [--json] [--small] [options]``.

Each starts what it needs in a temporary folder, shows progress on stderr, stops what it started, and prints one JSON object as
its last line on stdout (see ``harness``). Not part of the distribution.
"""
