"""Test scores of xpnet.sklearn and of scikit-learn over several seeds, as the table of the docs.

The data sets are those that come with scikit-learn; features are standardised, a third is for the
test, and all parameters are the defaults unless an option says otherwise.

    python scripts/compare_sklearn.py --seeds 10 --solver adam
"""

import argparse
import math
import warnings
from typing import Any

import numpy as np
from sklearn import datasets, neural_network
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from xpnet import sklearn as ours

LOADERS = {
    "digits": datasets.load_digits,
    "iris": datasets.load_iris,
    "wine": datasets.load_wine,
    "breast cancer": datasets.load_breast_cancer,
    "diabetes": datasets.load_diabetes,
}


def scores(module: Any, name: str, seeds: int, options: dict[str, Any]) -> np.ndarray:
    """The score of one library's estimator on a data set, for each seed."""
    x, y = LOADERS[name](return_X_y=True)
    values = name == "diabetes"
    if values:
        y = (y - y.mean()) / y.std()
    train_x, test_x, train_y, test_y = train_test_split(
        x, y, test_size=1 / 3, random_state=0, stratify=None if values else y
    )
    scaler = StandardScaler().fit(train_x)
    cls = module.MLPRegressor if values else module.MLPClassifier
    found = []
    for seed in range(seeds):
        model = cls(random_state=seed, **options).fit(scaler.transform(train_x), train_y)
        found.append(model.score(scaler.transform(test_x), test_y))
    return np.array(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--solver", default="adam", choices=["adam", "sgd", "lbfgs"])
    parser.add_argument("--max-iter", type=int, default=200)
    parser.add_argument("--data", default=",".join(LOADERS), help="a comma list of data sets")
    given = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    options = {"solver": given.solver, "max_iter": given.max_iter}
    root = math.sqrt(given.seeds)
    print("| data set | score | scikit-learn | xpnet | difference | its standard error |")
    print("|---|---|---|---|---|---|")
    for name in given.data.split(","):
        pair = [scores(m, name, given.seeds, options) for m in (neural_network, ours)]
        means = [s.mean() for s in pair]
        errors = [s.std(ddof=1) / root for s in pair]
        cells = [f"{mean:.4f} ± {error:.4f}" for mean, error in zip(means, errors, strict=True)]
        kind = "R²" if name == "diabetes" else "accuracy"
        difference = f"{means[1] - means[0]:+.4f} | {math.hypot(*errors):.4f}"
        print(f"| {name} | {kind} | {cells[0]} | {cells[1]} | {difference} |", flush=True)


if __name__ == "__main__":
    main()
