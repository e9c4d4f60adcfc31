"""The streaming inference node: a Flink job that serves only what the gate admits.

`deployment` starts, watches and stops the job (from the project's own environment); `job` is the
program that runs in Flink's environment. Patients arrive as CSV lines in files of one monitored
folder; predictions leave exactly once in committed part files, and every fact about them is read
from those (`committed`). Nothing here is imported by ion.
"""
