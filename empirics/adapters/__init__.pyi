from .huggingface_trainer import TrainerClocks as TrainerClocks
from .lightning import LightningClocks as LightningClocks
from .schedule import geometric_steps as geometric_steps
