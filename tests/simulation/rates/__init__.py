"""The simulator of rates: the shipped `RateLimiter` on simulated time, under the faults of the leases' simulator.

Modules, from the top (imports run downwards only):

    performance     one schedule played from beginning to end
    oracle          what must hold: R1 to R9
    schedule        a schedule as a value: settings, script, faults
"""
