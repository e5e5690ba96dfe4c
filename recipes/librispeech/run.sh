#!/usr/bin/env bash
# LibriSpeech with the limited labels of Libri-light: wav2vec 2.0 base as published, fine-tuned on 10 minutes, 1, 10 and
# 100 hours, greedily and with a language model. --help says more.
set -euo pipefail

recipe=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
summary="wav2vec 2.0 base on LibriSpeech: fine-tuning on 10 minutes, 1, 10 and 100 hours, from scratch and pretrained."
# shellcheck source-path=SCRIPTDIR source=../common.sh
. "$recipe/../common.sh"
# shellcheck source-path=SCRIPTDIR source=../language_model.sh
. "$recipe/../language_model.sh"

corpus=
limited=
labels="10min 1h 10h 100h"
arms="scratch pretrained"
encoder=
pretrain_config=published/pretrain_base

recipe_help() {
    cat <<'HELP'
  --corpus DIR       the folder LibriSpeech that the archives of openslr.org/12 unpack to, for stages 0 and 1: dev-other,
                     test-clean and test-other; train-clean-100 for 100 hours of labels; and for pretraining
                     train-clean-100, train-clean-360 and train-other-500
  --limited DIR      the unpacked librispeech_finetuning.tgz of Libri-light, for 10 minutes (its 1h/0), 1 hour and 10 hours
  --labels 10min,1h,10h,100h
                     transcribed audio of the arms (default: all)
  --inits scratch,pretrained
                     arms with random and with pretrained weights (default: both)
  --encoder RUN      a pretraining run, or what speechssl import made of a published model, instead of the pretraining of
                     stage 2: 400,000 updates of 1.6 hours, for 64 GPUs as published
HELP
    language_model_help
}

recipe_option() {
    case $1 in
        --corpus) corpus=$(absolute_path "$2") ;;
        --limited) limited=$(absolute_path "$2") ;;
        --labels) labels=$(choice_list "$1" "$2" 10min 1h 10h 100h) || exit 2 ;;
        --inits) arms=$(choice_list "$1" "$2" scratch pretrained) || exit 2 ;;
        --encoder)
            [ -d "$2" ] || usage_error "--encoder: there is no folder $2"
            encoder=$(absolute_path "$2")
            ;;
        *) language_model_option "$1" "$2" ;;
    esac
}

pretrains() {
    [[ " $arms " == *" pretrained "* ]] && [ -z "$encoder" ]
}

# Folders that a list of shards is made of, one a line.
sources_of() {
    case $1 in
        train_10min) echo "$limited/1h/0" ;;
        train_1h) echo "$limited/1h" ;;
        train_10h) printf '%s\n' "$limited/1h" "$limited/9h" ;;
        train_100h) echo "$corpus/train-clean-100" ;;
        pretrain) printf '%s\n' "$corpus/train-clean-100" "$corpus/train-clean-360" "$corpus/train-other-500" ;;
        *) echo "$corpus/$1" ;;
    esac
}

# Lists of shards, all of whose sources have to be there.
choose_lists() {
    local name source missing=''
    lists="dev-other test-clean test-other"
    for name in $labels; do
        lists="$lists train_$name"
    done
    ! pretrains || lists="pretrain $lists"
    [ "$first_stage" -le 1 ] || return 0
    [ -n "$corpus" ] || fail "this recipe needs LibriSpeech: --corpus DIR." \
        "Get the archives from https://www.openslr.org/12 , unpack them, and give the folder LibriSpeech that they make."
    case " $labels " in
        *" 10min "* | *" 1h "* | *" 10h "*)
            [ -n "$limited" ] || fail "10 minutes, 1 hour and 10 hours of labels are those of Libri-light: --limited DIR." \
                "Get https://dl.fbaipublicfiles.com/librilight/data/librispeech_finetuning.tgz , unpack it, and give its folder."
            ;;
    esac
    for name in $lists; do
        while IFS= read -r source; do
            [ -d "$source" ] || missing="$missing $source"
        done < <(sources_of "$name")
    done
    [ -z "$missing" ] || fail "there is no$missing." "Unpack what is missing, or ask for less with --labels, --inits and --encoder."
}

# As that of common.sh, with the published constants for each amount of labels.
choose_arm() {
    run=$exp/seed$1/finetune_$2_$3
    arm=(--config "published/finetune_$3" --output "$run" --training.seed "$1")
    [ "$2" = scratch ] || arm+=(--init "${encoder:-$exp/seed$1/pretrain}")
}

finetune_amount() {
    speechssl finetune "${arm[@]}" --train.shards "$shards/train_$amount" --dev.shards "$shards/dev-other"
}

parse_arguments "$@"
choose_lists
ensure_environment quickstart
check_overrides "published/finetune_${labels##* }"
shards=$exp/data/shards

if stage 1 "shards"; then
    for list in $lists; do
        sources=()
        while IFS= read -r source; do
            sources+=("$source")
        done < <(sources_of "$list")
        speechssl shard "${sources[@]}" "$shards/$list"
    done
    make_language_models
fi

if pretrains && stage 2 "pretraining, without transcripts"; then
    for seed in $seeds; do
        speechssl pretrain --config "$pretrain_config" --output "$exp/seed$seed/pretrain" --training.seed "$seed" \
            --data.shards "$shards/pretrain"
    done
fi

if stage 3 "fine-tuning of each arm"; then
    for_every_arm finetune_amount
fi

if stage 4 "word error rates on the test sets"; then
    for_every_arm evaluate_decodings dev-other test-clean test-other
fi

report_and_end "$exp"
