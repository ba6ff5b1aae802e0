"""The risk stage: joins holdings, prices and credit news, and is the only place that decides.

From the outside in: :mod:`.stage` takes readings, credit events and ticks; :mod:`.evaluate`
looks at every scope in a fixed order; :mod:`.features` says what is known of each,
:mod:`.tracker` how long a rule has held, :mod:`.machine` which state follows, :mod:`.decide`
and :mod:`.grounds` what is said about it; :mod:`.exposure`, :mod:`.assess` and :mod:`.dollars`
put dollars on it.

Rules are data (``rules/static.toml``): to add one, write it there with a fixture in which it
fires. To add a feature, compute it in :mod:`.features`; its name is then known to rules and
models. Models are handed in (:mod:`.models`) and asked through rules of their own.
"""
