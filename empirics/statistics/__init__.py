"""What a table of runs says: censored scaling fits, tests of the claims, controls. Reads tables, trains nothing."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
