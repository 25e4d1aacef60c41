"""Guards that bite: every guard of the code, how it is taken out, and the tests that notice.

Invariants: a guard is text that occurs once in one room, and what stands there without it; the code without
it still runs, and sends requests that DynamoDB takes. A guard whose removal nothing notices is a hole in the suite.
"""
