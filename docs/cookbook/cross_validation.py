"""Three models compared by cross-validation, with intervals of their paired differences."""

import jax
import numpy as np

import jaxopt_course as jc
from jaxopt_course.studies import cross_validate, paired_differences


digits = jc.data.digits()
problem = jc.problems.problem("multiclass")
key = jax.random.key(0)
folds = jc.data.k_fold(key, np.arange(len(digits.targets)), 5, stratify=digits.targets)

# Each model is one program, which trains all folds with all seeds.
models = {"linear": [], "narrow": [16], "wide": [128]}
reports = {}
for name, hidden in models.items():
    model = jc.nn.MLP(outputs=10, hidden=hidden)
    task = jc.linen_task(model, digits.inputs[:1], problem)
    build = lambda rate, task=task: (task, jc.adam(rate))
    train = jc.make_train(build, digits, epochs=15, batch_size=64)
    options = {"key": key, "hyperparameters": 3e-3, "metric": "validation_accuracy", "mode": "max"}
    reports[name] = cross_validate(train, folds, seeds=2, **options)
    print(f"{name}: {reports[name]}")

# All models saw the same folds and seeds, so what makes a fold hard cancels in the differences.
scores = np.stack([report.scores for report in reports.values()])
differences = paired_differences(scores, reference=list(models).index("linear"))
print(differences)
assert differences.low[2] > 0  # the wide network is better than the linear model
