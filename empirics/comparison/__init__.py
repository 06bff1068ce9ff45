"""A learned model beside the exact optima: whose score, whose next-token law has it learned?"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
