"""What this organisation asks of a model. Policies import `ion`, never Dagster; edit them freely.

A change to any file here changes the digest of every policy set, and so of every later decision.
"""
