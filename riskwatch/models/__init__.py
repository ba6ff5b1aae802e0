"""Online models and their labels: River estimators, one per file.

A *generation* scores one target of one scope, and learns from labels once they have matured.
To add one:

1. Write a class with the members of :class:`riskwatch.models.base.Generation`.
2. Keep it pure: no clock, no chance, no input beyond the arguments; the state is plain JSON.
3. Name every feature that was looked at among the contributions.
4. Name its factory as an entry point in the group ``riskwatch.models`` of your own package.
   A generation of this package goes into :data:`riskwatch.models.registry.BUILTIN` instead.
5. Run ``riskwatch models check NAME`` until it passes.
6. Name it in the configuration. Nothing is loaded that is not named.
7. It is ``shadow`` unless the configuration says more: scored and stored, and deciding nothing.
8. ``docs/models.md`` describes targets, authority and evidence.
"""
