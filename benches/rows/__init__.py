"""The rows that `benches/run` prints."""
