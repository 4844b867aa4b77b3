"""The read side: views folded from the topics, their checkpoints and rebuilds, recall. Calls no model, writes no memory event."""
