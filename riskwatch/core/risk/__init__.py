"""The risk stage: joins holdings, prices and credit news, and is the only place that decides.

From the outside in: :mod:`.stage` takes readings, credit events and ticks. :mod:`.evaluate`
looks at every scope in a fixed order. :mod:`.features` and :mod:`.party` say what is known of
each, :mod:`.baseline` what is usual, :mod:`.asking` what the models make of it. :mod:`.tracker`
counts how long a rule has held; :mod:`.machine` is the rule engine, and says which state is asked
for. :mod:`.decide` says which state follows, :mod:`.grounds` explains it, and :mod:`.turn` writes
every decision, switch and alert, of rules and of people. :mod:`.exposure`, :mod:`.assess` and
:mod:`.dollars` put dollars on a scope, and :mod:`.dealings` learns from our own fills what leaving
costs.

Rules are data (``rules/static.toml``): to add one, write it there with a fixture in which it
fires. To add a feature, compute it in :mod:`.features`; its name is then known to rules and
models. Models are handed in (:mod:`.models`) and asked through rules of their own.
"""
