"""What watches and acts: decisions, deployments, the mirror, and the observation of Dagster itself."""
