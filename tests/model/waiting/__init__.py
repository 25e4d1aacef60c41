"""The queue of an ordered bucket as a transition system of its own: tickets, and who may claim what.

It says nothing of leases but that a slot is free or held: those are for the model beside it, whatever order tries have.
"""
