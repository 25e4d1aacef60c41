"""A small explicit-state model of the protocol. See `docs/model.md`."""
