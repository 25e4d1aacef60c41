"""The protocol as pure values and decisions: no I/O, no clock, no threads, no chance of its own."""
