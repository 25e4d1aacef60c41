"""The simulator: the shipped code on simulated time, against a DynamoDB in memory, with every fault that can be thought of.

Rooms, from the bottom up (imports run downwards only):

    shrinking   replay  explore      what scripts/simulate and the tests call
    performance                      one schedule played from beginning to end
    oracle                           what must hold: N, S1 to S6, L1 to L4
    cast                             a simulated process: the shipped `LeaseBucket` on simulated clocks and threads
    network                          each request's fate on its way there and back
    schedule                         a schedule as a value: settings, script, faults
    world                            simulated time, and real threads of which one runs at a time
    dynamodb  expressions            tables in memory, and DynamoDB's expression language
"""
