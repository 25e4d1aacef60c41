"""The requests of rates: their items, every expression, and what the answers mean."""
