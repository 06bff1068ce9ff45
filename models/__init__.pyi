from .dit import DiT as DiT
from .edm import EDM as EDM
from .gpt import GPT as GPT
from .layers import SIZES as SIZES
from .layers import Size as Size
from .masked import MaskedTransformer as MaskedTransformer
