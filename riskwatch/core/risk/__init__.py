"""The risk stage: joins holdings, prices and credit news, and makes every decision.

The modules, from the outside in:

* :mod:`.stage` takes readings, credit events, commands and ticks.
* :mod:`.evaluator` evaluates every scope in a fixed order.
* :mod:`.exposure`, :mod:`.limits`, :mod:`.credit`, :mod:`.credit_loss` and :mod:`.stakes` compute
  exposures, limit usage, credit figures and the exposure at stake, in USD.
* :mod:`.features` computes the features of each scope, and :mod:`.baseline` their usual level.
* :mod:`.scorer` states what the stage needs of models; :mod:`riskwatch.models` implements it.
* :mod:`.rule_engine` evaluates rules and asks, with one :mod:`.tracker` per rule and scope.
* :mod:`.decision` chooses the state that follows and writes every decision, switch and alert;
  :mod:`.explanation` explains a decision.
* :mod:`.commands`, :mod:`.gate`, :mod:`.approvals` and :mod:`.drills` handle operators' commands.
* :mod:`.reports` writes all other outputs. :mod:`.state` holds the rows.

Rules are data (``rules/static.toml``). To add a rule, write it there with a fixture in which it
fires. To add a feature, compute it in :mod:`.features`; rules and models can then use its name.
The composition root passes the models in; they act only through asks, which are rules too.
"""
