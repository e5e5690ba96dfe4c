#!/usr/bin/env bash
# CMU AN4: recorded people who spell, read numbers and give commands. Every arm of the comparison: with and without
# pretraining, on about 10 transcribed minutes and on all that are not held out. --help says more.
set -euo pipefail

recipe=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
summary="Pretraining, fine-tuning and word error rates on the CMU AN4 corpus."
# shellcheck source-path=SCRIPTDIR source=../common.sh
. "$recipe/../common.sh"
# shellcheck source-path=SCRIPTDIR source=../pretraining.sh
. "$recipe/../pretraining.sh"
# shellcheck source-path=SCRIPTDIR source=../self_training.sh
. "$recipe/../self_training.sh"
# shellcheck source-path=SCRIPTDIR source=../language_model.sh
. "$recipe/../language_model.sh"

corpus=
labels="10min full"
inits="scratch log_mel pretrained"
extra_lists=()
go_on_from=
old_dev=

recipe_help() {
    pretraining_help
    self_training_help
    language_model_help
    cat <<'HELP'
  --corpus DIR       the corpus, needed for stages 0 and 1: the unpacked archive with an4/etc and an4/wav, SPHERE or raw,
                     or a folder with train.tsv, test.tsv (columns path, speaker, seconds, text) and the audio they name
  --labels 10min,full
                     transcribed audio of the arms: about 10 minutes, all but the held-out speakers, or both (default)
  --inits scratch,log_mel,pretrained
                     arms with random weights, with random ones and no transformer, with pretrained ones (default: all)
  --go-on-from RUN   pretraining goes on from this run or checkpoint, of the same architecture and codebook, instead of from random weights
  --old-dev SHARDS   held-out shards of what RUN was pretrained on: the pretext scores on them, from before the first update
                     on, show what is forgotten
  --extra-untranscribed LIST
                     more audio for pretraining: a tab-separated list with a column path, relative to it; repeatable
HELP
}

recipe_option() {
    case $1 in
        --corpus) corpus=$(absolute_path "$2") ;;
        --labels) labels=$(choice_list "$1" "$2" 10min full) || exit 2 ;;
        --inits) inits=$(choice_list "$1" "$2" scratch log_mel pretrained) || exit 2 ;;
        --go-on-from)
            [ -d "$2" ] || usage_error "--go-on-from: there is no folder $2"
            go_on_from=$(absolute_path "$2")
            ;;
        --old-dev)
            [ -e "$2" ] || usage_error "--old-dev: there is no $2"
            old_dev=$(absolute_path "$2")
            ;;
        --extra-untranscribed)
            [ -f "$2" ] || usage_error "--extra-untranscribed: there is no file $2"
            extra_lists+=("$(absolute_path "$2")")
            ;;
        *) pretraining_option "$1" "$2" || self_training_option "$1" "$2" || language_model_option "$1" "$2" ;;
    esac
}

finetune_amount() {
    finetune_arm "train_$amount"
}

parse_arguments "$@"
arms=$inits
check_pretraining
[ "$units" = log_mel ] || [ -z "$go_on_from" ] || usage_error "--go-on-from brings its units: no --units $units with it"
if [ "$first_stage" -eq 0 ] && [ -z "$corpus" ]; then
    fail "this recipe needs the CMU AN4 corpus: --corpus DIR." \
        "Get an4_sphere.tar.gz (64 MB) from http://www.speech.cs.cmu.edu/databases/an4/ , unpack it with" \
        "tar -xzf an4_sphere.tar.gz, and give the folder in which it made an4/."
fi
ensure_environment quickstart
check_overrides
lists=$exp/data/manifests
shards=$exp/data/shards

if stage 0 "lists"; then
    "$PYTHON" "$recipe/local/prepare.py" "$corpus" "$lists"
fi

if stage 1 "shards"; then
    for list in pretrain train_10min train_full dev test; do
        speechssl shard "$lists/$list.tsv" "$shards/$list"
    done
    for ((i = 0; i < ${#extra_lists[@]}; i++)); do
        speechssl shard "${extra_lists[$i]}" "$shards/extra/$i"
    done
    make_language_models
fi

if [[ " $inits " == *" pretrained "* ]] && stage 2 "pretraining, without transcripts"; then
    untranscribed=("$shards/pretrain")
    for ((i = 0; i < ${#extra_lists[@]}; i++)); do
        untranscribed+=("$shards/extra/$i")
    done
    going_on=()
    [ -z "$go_on_from" ] || going_on+=(--init "$go_on_from")
    [ -z "$old_dev" ] || going_on+=(--dev.shards "$old_dev")
    for seed in $seeds; do
        pretrain_seed "$seed" 10min "$shards/train_10min" "$shards/dev" \
            --data.shards "${untranscribed[@]}" ${going_on[@]+"${going_on[@]}"}
    done
fi

if stage 3 "fine-tuning of each arm"; then
    for_every_arm finetune_amount
fi

if stage 4 "word error rates on the test set"; then
    for_every_arm evaluate_decodings dev test
fi

report_and_end "$exp"
