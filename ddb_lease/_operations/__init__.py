"""Operations: generators that yield requests and pauses, and are sent answers. No I/O, no clock, no threads."""
