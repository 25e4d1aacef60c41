"""The runtime of rates: what drives their operations, waits, reports, and decides when the service does not answer."""
