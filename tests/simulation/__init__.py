"""The simulator: the shipped code on simulated time, against a DynamoDB in memory, with every fault we can think of.

Modules, from the top (imports run downwards only); those of the lower part are in `scripts/harness`:

    shrinking  timeline  exploring     what scripts/simulate and the tests call
    performance                        one schedule played from beginning to end
    oracle                             what must hold: N, S1 to S6, L1 to L4
    schedule                           a schedule as a value: settings, script, faults

    simulated_process                  the shipped `LeaseBucket` on simulated clocks and threads
    network                            each request's fate on its way there and back
    world                              simulated time, and real threads of which one runs at a time
    simulated_dynamodb  expressions    a table in memory, and DynamoDB's expression language
"""
