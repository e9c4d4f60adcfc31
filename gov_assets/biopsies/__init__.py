"""The ION `biopsies`: whose sample is looked at first. A wrong answer costs health: two people approve its models."""
