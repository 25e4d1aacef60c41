"""Rates: limits of a key, charged ahead, reserved and settled, under a stored policy. Values and decisions; no I/O."""
