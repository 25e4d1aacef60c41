"""The proof: the shipped requests, translated to formulas, keep an invariant from which the promises follow.

`shipped` runs the library's own code on symbols and takes its requests; `translation` says what their expressions mean;
`slots`, `rates`, `tickets` and `hits` have the steps, the invariants and what clients do around the requests; `alterations` breaks each
part of each request, and the proof must fail. docs/proof.md says what all of this shows, and what not.
"""
