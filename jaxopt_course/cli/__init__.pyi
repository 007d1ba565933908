from ._main import main as main
from ._options import TrainOptions as TrainOptions
from ._setup import Examples as Examples
from ._setup import describe_model as describe_model
from ._setup import load_data as load_data
from ._setup import make_optimizer as make_optimizer
from ._setup import make_task as make_task
from ._setup import prepare as prepare
