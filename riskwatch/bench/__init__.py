"""The scoreboard: it compares the states and probabilities of a monitor with labels.

All modules are pure; ``riskwatch.commands.bench`` runs the pipeline. :mod:`.case` holds the correct
states, :mod:`.timeline` the changes of state, and :mod:`.static` the static rules to compare with.
:mod:`.labels` computes labels from the readings, independently of the models. :mod:`.probability`
has the measures of probabilities. :mod:`.outcome` scores one contender on one case.
:mod:`.leave_one_out` chooses options without the scored episode. :mod:`.criteria` has the
acceptance criteria, and :mod:`.page` the report.

To add a measure, compute it in :mod:`.outcome` or :mod:`.probability`, give it a column in
``riskwatch.store.scoreboard``, and show it in ``page.html.j2``.
"""
