#!/usr/bin/env bash
# Learns a speech representation from untranscribed audio, fine-tunes it on five transcribed minutes, and sets its word
# error rate beside that of the same model trained from scratch. Needs nothing but Python; --help says more.
set -euo pipefail

recipe=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
summary="The main job on a synthetic corpus that is made on the spot: a quarter of an hour on two CPU cores."
# shellcheck source-path=SCRIPTDIR source=../common.sh
. "$recipe/../common.sh"
# shellcheck source-path=SCRIPTDIR source=../pretraining.sh
. "$recipe/../pretraining.sh"
# shellcheck source-path=SCRIPTDIR source=../self_training.sh
. "$recipe/../self_training.sh"

recipe_help() {
    pretraining_help
    self_training_help
}

recipe_option() {
    pretraining_option "$1" "$2" || self_training_option "$1" "$2"
}

parse_arguments "$@"
check_pretraining
ensure_environment quickstart
check_overrides
lists=$exp/data/corpus
labels=5min
arms="scratch pretrained"
shards=$exp/data/shards

if stage 0 "corpus"; then
    "$PYTHON" "$recipe/local/make_corpus.py" "$lists"
fi

if stage 1 "shards"; then
    for list in pretrain train dev test; do
        speechssl shard "$lists/$list.tsv" "$shards/$list"
    done
fi

if stage 2 "pretraining, without transcripts"; then
    for seed in $seeds; do
        pretrain_seed "$seed" 5min "$shards/train" "$shards/dev" --data.shards "$shards/pretrain"
    done
fi

if stage 3 "fine-tuning on five transcribed minutes, and the same from scratch"; then
    for_every_arm finetune_arm train
fi

if stage 4 "word error rates on the test set"; then
    for_every_arm evaluate_arm test
fi

report_and_end "$exp"
