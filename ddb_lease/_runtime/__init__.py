"""The runtime: threads, clocks, heartbeats, and what drives operations against a store."""
