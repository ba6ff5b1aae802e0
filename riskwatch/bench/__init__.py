"""The scoreboard: pure scoring of what a monitor said against what was right to say.

:mod:`.case` is what was right, :mod:`.timeline` what was said and when, :mod:`.static` the
opponents, :mod:`.matured` labels taken from the readings by code of its own, :mod:`.probability`
the measures of probabilities, :mod:`.outcome` one contender on one case, :mod:`.contest` the
choices that leave the scored episode out, :mod:`.criteria` what is to be reached, :mod:`.page` the
report. Nothing here runs a pipeline: ``riskwatch.commands.bench`` does.

To add a measure, compute it in :mod:`.outcome` or :mod:`.probability`, give it a column in
``riskwatch.store.scoreboard``, and show it in ``page.html.j2``.
"""
