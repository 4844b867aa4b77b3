"""The contract: record types, their encoding, envelope, ids, topics, and the one rule by which every reader accepts events."""
