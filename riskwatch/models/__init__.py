"""Online models and their labels: River estimators, one per file.

A *generation* scores one target for one scope, and learns from labels once they have matured.
To add one: write a class with the members of :class:`riskwatch.models.base.Generation` (state
as plain JSON, scoring pure), put its factory under the entry point group ``riskwatch.models``
of your own package, and name it in the configuration; nothing is loaded that is not named. A
generation of this package goes into :data:`riskwatch.models.registry.BUILTIN` instead. It is
``shadow`` unless the configuration says more: scored and stored, and deciding nothing.
``docs/models.md`` has the whole of it.
"""
