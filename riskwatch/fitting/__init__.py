"""Fits the batch generation: rows off a tape of labels, folds that walk forward, an artefact.

The rows are those that the online models would have learned from: the whole pipeline lives
through the episodes, samples are taken and labels mature as they do live, and a tape writes
them down (:mod:`.tape`). :mod:`.walk` splits them by time and never otherwise, :mod:`.trees`
fits one target, :mod:`.artefact` puts all targets into one text with a digest. Nothing here
runs while events are being decided on.
"""
