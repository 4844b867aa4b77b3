"""A stand-in for an OpenAI-compatible model endpoint: recorded facts, real HTTP, faults on demand.

    python -m ops.standin --port 8099 --recording FILE --latency 0.3

It is for tests, demo and benchmarks. It is not a model, and says so in the `model` of every answer.
"""
