"""What one process remembers of rates: their keys, bookings, holds, policy, and the time. No I/O; times come in."""
