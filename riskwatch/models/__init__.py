"""Models that score targets, and learn online from matured labels.

A *generation* is one model. It scores every target of every scope, and may learn from labels.
To add one:

1. Write a class with the members of :class:`riskwatch.models.base.Generation`.
2. Keep it pure: no clock, no randomness, no input beyond the arguments. Its state is plain JSON.
3. List every feature that it uses among the contributions.
4. Declare its factory as an entry point of the group ``riskwatch.models`` in your own package.
   A generation of this package goes into :data:`riskwatch.models.registry.BUILTIN` instead.
5. Run ``riskwatch models check NAME`` until it passes.
6. Name it in the configuration. Only named models are loaded.
7. It starts as ``shadow`` unless the configuration grants more: its scores are stored and decide
   nothing.
8. ``docs/models.md`` describes targets, authority and evidence.
"""
