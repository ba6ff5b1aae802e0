"""Fitting of the batch generation: recorded samples, walk-forward folds, and an artefact.

The rows are those from which the online models would have learned. The whole pipeline runs on the
episodes, samples and labels are made as in operation, and a sample recorder stores them
(:mod:`riskwatch.models.sample_recorder`). :mod:`.walk_forward` splits them by time only.
:mod:`.trees` fits one target. :mod:`.artefact` combines all targets into one text with a digest.
Nothing here runs while events are decided.
"""
