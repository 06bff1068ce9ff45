"""twoclocks: when a generative model learns the rule, when it copies its training set, and the window between.

Public names are imported on first use; ``__init__.pyi`` lists them. What is asked for less often lies in `theory`,
`compare`, `probes` and `statistics`.
"""

import lazy_loader

from .empirics import comparison as compare  # noqa: F401, a name of the stub that lazy_loader does not rename

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
