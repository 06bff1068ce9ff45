"""The networks: DiT with EDM preconditioning, GPT, and the masked transformer. Imports torch alone."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
