"""Operations on rates: charging, reserving, settling, policies, steering. Generators; no I/O, clock or threads."""
