"""What one process remembers: of a bucket, of a rate, and of the service's time. No I/O; times come in."""
