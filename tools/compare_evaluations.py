"""How much lower the word error rate of one way of training is than that of another, with its 95% interval.

    python tools/compare_evaluations.py --baseline A/seed*/finetune/evaluate_test --model B/seed*/finetune/evaluate_test

The folders are those that `speechssl evaluate` wrote, one for each seed, all over the same utterances. `report`
compares a recipe's arms; this compares anything, such as a change of configuration before it is kept.
"""

import argparse
from pathlib import Path

from speechssl.evaluation.intervals import WordCounts, name_units, relative_reduction
from speechssl.evaluation.stored import read_counts


def describe(name: str, counts: list[WordCounts]) -> None:
    """Print the rate of each seed and their mean."""
    rates = [item.edits.sum() / item.words.sum() for item in counts]
    print(f"{name}: {', '.join(f'{rate:.1%}' for rate in rates)}, mean {sum(rates) / len(rates):.1%}")


def main() -> None:
    """Compare what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--baseline", nargs="+", type=Path, required=True)
    parser.add_argument("--model", nargs="+", type=Path, required=True)
    arguments = parser.parse_args()
    baseline, model = ([read_counts(path) for path in paths] for paths in (arguments.baseline, arguments.model))
    describe("baseline", baseline)
    describe("model", model)
    found = relative_reduction(baseline, model)
    units = name_units(found.unit, found.num_units, len(baseline[0].words))
    seeds = f"{units} and seeds" if found.covers_seeds else units
    print(f"the model's is lower by {found.reduction:.1%} ({found.low:.1%} to {found.high:.1%}, over {seeds})")


if __name__ == "__main__":
    main()
