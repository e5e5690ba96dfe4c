#!/usr/bin/env bash
# Whether what pretraining bought holds elsewhere: other people, groups, corpora, channels, noise, rooms. --help says more.
set -euo pipefail

recipe=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
summary="What is lost on other speech than that trained on, from scratch and pretrained: people, noise, rooms, channels, corpora."
SMALL_OBJECTIVES=scratch,log_mel,masked_prediction
SMALL_LABELS=10
WHOLE_OBJECTIVES=scratch,log_mel,contrastive,masked_prediction,self_distillation
WHOLE_LABELS=10,full
SEEN_MINUTES=5
# shellcheck source-path=SCRIPTDIR source=../common.sh
. "$recipe/../common.sh"
# shellcheck source-path=SCRIPTDIR source=../objectives.sh
. "$recipe/../objectives.sh"

making=()

recipe_help() {
    objectives_help
    cat <<'HELP'
  --groups LIST      groups of speakers to compare, such as children and adults: a tab-separated list with the columns
                     speaker and group; without it, the column group of DIR/train.tsv and DIR/test.tsv, if there is one
  --noise DIR        recorded noise, in audio files, beside babble and speech-shaped noise of training speakers
  --other NAME=DIR   another corpus with a test.tsv (columns path, text, and speaker if known), evaluated as it is; repeatable
HELP
}

recipe_option() {
    case $1 in
        --groups)
            [ -f "$2" ] || usage_error "--groups: there is no file $2"
            making+=("$1" "$(absolute_path "$2")")
            ;;
        --noise)
            [ -d "$2" ] || usage_error "--noise: there is no folder $2"
            making+=("$1" "$(absolute_path "$2")")
            ;;
        --other)
            case $2 in
                [A-Za-z0-9]*=?*) ;;
                *) usage_error "--other is '$2'; expected NAME=DIR" ;;
            esac
            [ -f "${2#*=}/test.tsv" ] || usage_error "--other: there is no file ${2#*=}/test.tsv"
            making+=("$1" "${2%%=*}=$(absolute_path "${2#*=}")")
            ;;
        *) objectives_option "$1" "$2" ;;
    esac
}

# Names of the sets beside test, which stage 0 made a list of each for.
condition_sets() {
    local list
    [ -f "$conditions/conditions.json" ] || fail "there is no $conditions/conditions.json; run stage 0 first."
    for list in "$conditions"/*.tsv; do
        basename "$list" .tsv
    done
}

evaluate_sets() {
    local set
    for set in test $sets; do
        evaluate_arm "$set"
    done
}

parse_arguments "$@"
settle_objectives
conditions=$exp/data/conditions

if stage 0 "lists and conditions"; then
    prepare_lists --seen-minutes "$SEEN_MINUTES"
    "$PYTHON" "$recipe/local/make_conditions.py" "$lists" "$conditions" --corpus "$corpus" ${making[@]+"${making[@]}"}
fi
if stage 1 "shards"; then
    shard_lists
    sets=$(condition_sets)
    for name in $sets; do
        speechssl shard "$conditions/$name.tsv" "$shards/$name"
    done
fi
if stage 2 "pretraining, without transcripts"; then
    pretrain_objectives
fi
if stage 3 "fine-tuning of each arm"; then
    for_every_arm finetune_arm
fi
if stage 4 "word error rates on every set"; then
    sets=$(condition_sets)
    for_every_arm evaluate_sets
fi
report_and_end "$exp" --conditions "$conditions/conditions.json"
