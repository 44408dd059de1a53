"""The words of `attestation.report.explain`: one table for each kind of evidence, plain data.

An entry is `id: (layer, title, what a pass proves, what it leaves open)`. Titles name the thing that is
looked at, not the result, so that they read the same beside a pass and beside a failure.
"""
