"""Metrics: how well outputs fit targets, in units that people read.

Most metrics give one value for each example, in float32 or wider, to be averaged by
:func:`weighted_mean` or summed over batches. ``roc_auc``, ``average_precision``, ``f1``, ``r2``,
and the metrics of a ``confusion_matrix``, need all rows of a data set at once; trainings compute
them by :func:`~jaxopt_course.tasks.with_metrics`. All of them can be jitted.
"""

from ._data_sets import average_precision as average_precision
from ._data_sets import confusion_matrix as confusion_matrix
from ._data_sets import f1 as f1
from ._data_sets import f1_score as f1_score
from ._data_sets import precision as precision
from ._data_sets import r2 as r2
from ._data_sets import recall as recall
from ._data_sets import roc_auc as roc_auc
from ._examples import accuracy as accuracy
from ._examples import binary_accuracy as binary_accuracy
from ._examples import bits_per_byte as bits_per_byte
from ._examples import exact_match as exact_match
from ._examples import mean_absolute_error as mean_absolute_error
from ._examples import perplexity as perplexity
from ._examples import top_k_accuracy as top_k_accuracy
from ._examples import weighted_mean as weighted_mean
