"""Online models and their labels: River estimators, one per file."""
