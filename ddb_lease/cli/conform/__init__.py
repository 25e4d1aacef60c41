"""`ddb-lease conform`: every request of the protocol, in every outcome, against the real service or an engine.

`probe` compares one answer with what the service is known to answer, `*_probes` list the requests, `measuring` measures
what no single answer shows, `own_table` makes the table and deletes it whatever happens, `recording` writes answers
down, `command` is the command. `probe` and the lists are pure.
"""
