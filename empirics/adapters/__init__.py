"""Clocks where people train: a Lightning callback and a Hugging Face trainer's callback; each needs its library."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
