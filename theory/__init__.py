"""Exact references: laws, rules, optimal denoisers, chance memorization. No neural nets, no training."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
