"""Looking into a run: states of its generations, losses by noise level, landscapes of its score. One subject a file."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
