"""The risk stage: joins holdings, prices and credit news, and is the only place that decides.

From the outside in: :mod:`.stage` takes readings, credit events and ticks; :mod:`.evaluate`
looks at every scope in a fixed order; :mod:`.features` and :mod:`.party` say what is known of
each, :mod:`.baseline` what is usual, :mod:`.asking` what the models make of it; :mod:`.tracker`
how long a rule has held, :mod:`.machine` which state follows, :mod:`.decide` and
:mod:`.grounds` what is said about it; :mod:`.exposure`, :mod:`.assess` and :mod:`.dollars`
put dollars on it, and :mod:`.dealings` learns from our own fills what leaving costs.

Rules are data (``rules/static.toml``): to add one, write it there with a fixture in which it
fires. To add a feature, compute it in :mod:`.features`; its name is then known to rules and
models. Models are handed in (:mod:`.models`) and asked through rules of their own.
"""
