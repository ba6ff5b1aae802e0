"""The risk stage: the only place that decides."""
