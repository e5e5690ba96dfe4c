#!/usr/bin/env bash
# Word error rates against minutes of labels, from scratch and from each pretext task. --help says more.
set -euo pipefail

recipe=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
summary="How many minutes of labels pretraining saves: word error rates against labels, from scratch and pretrained."
SMALL_OBJECTIVES=scratch,log_mel,masked_prediction
SMALL_LABELS=2,5,10
WHOLE_OBJECTIVES=scratch,log_mel,contrastive,masked_prediction,self_distillation
WHOLE_LABELS=1,2,5,10,20,full
# shellcheck source-path=SCRIPTDIR source=../common.sh
. "$recipe/../common.sh"
# shellcheck source-path=SCRIPTDIR source=../objectives.sh
. "$recipe/../objectives.sh"

recipe_help() {
    objectives_help
}

recipe_option() {
    objectives_option "$1" "$2"
}

parse_arguments "$@"
settle_objectives

if stage 0 "lists"; then
    # shellcheck disable=SC2119  # it has no options of its own
    prepare_lists
fi
if stage 1 "shards"; then
    shard_lists
fi
if stage 2 "pretraining, without transcripts"; then
    pretrain_objectives
fi
if stage 3 "fine-tuning of each arm"; then
    for_every_arm finetune_arm
fi
if stage 4 "word error rates on the test set"; then
    for_every_arm evaluate_arm test
fi
report_and_end "$exp"
