"""The ION `patient_tests`: recommends a further test for a patient from thirty measured numbers.

Training in Spark (`assets`, `search`), data quality (`checks`), the stream of patients (`feed`).
"""
