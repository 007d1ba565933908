"""The course's claims as experiments, with effects, intervals over seeds, and verdicts."""

from ._catalogue import CLAIMS as CLAIMS
from ._catalogue import claim as claim
from ._claim import QUICK_SEEDS as QUICK_SEEDS
from ._claim import SEEDS as SEEDS
from ._claim import Claim as Claim
from ._claim import Evidence as Evidence
from ._claim import Verdict as Verdict
from ._claimed import Claimed as Claimed
from ._effects import DEPENDS as DEPENDS
from ._effects import FAILS as FAILS
from ._effects import HOLDS as HOLDS
from ._effects import UNDECIDED as UNDECIDED
from ._effects import Effect as Effect
from ._effects import exact_effect as exact_effect
from ._effects import mean_effect as mean_effect
from ._effects import ratio_effect as ratio_effect
from ._effects import share_effect as share_effect
from ._pictures import Curves as Curves
from ._pictures import Groups as Groups
from ._pictures import Planes as Planes
from ._report import verdict_figure as verdict_figure
from ._report import verdicts_markdown as verdicts_markdown
