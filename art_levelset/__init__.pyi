from .attacks.pgd import pgd as pgd
from .core.bracketing import false_position as false_position
from .core.fields import Field as Field
from .core.fields import logit_field as logit_field
from .core.fields import margin_field as margin_field
from .core.fields import network_field as network_field
from .core.fields import soft_margin_field as soft_margin_field
from .core.projection import descend as descend
from .core.projection import project as project
from .core.sample_network import SampleNetwork as SampleNetwork
from .core.sample_network import sample_network as sample_network
from .core.samples import LevelSetSamples as LevelSetSamples
from .core.samples import Status as Status
from .evaluation.assessment import evaluate as evaluate
from .evaluation.benchmark import benchmark as benchmark
from .evaluation.masking import diagnose as diagnose
from .recon.curves.fit import reconstruct_curve as reconstruct_curve
from .recon.io.reading import read_cloud as read_cloud
from .recon.pipeline import reconstruct as reconstruct
from .trainers.adversarial import MadryTrainer as MadryTrainer
from .trainers.adversarial import TRADESTrainer as TRADESTrainer
from .trainers.geometric_svm import GeometricSVMTrainer as GeometricSVMTrainer
from .trainers.margin import LevelSetMarginTrainer as LevelSetMarginTrainer

__version__: str
