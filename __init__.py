"""twoclocks: when a generative model learns the rule, when it copies its training set, and the window between.

Public names are imported on first use; ``__init__.pyi`` lists them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
