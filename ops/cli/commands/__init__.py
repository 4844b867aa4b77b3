"""One module per group of commands, each with ``register(app)``; what is heavy is imported when a command runs."""
