from . import core as core
from ._version import __version__ as __version__
