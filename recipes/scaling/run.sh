#!/usr/bin/env bash
# Word error rates against hours of untranscribed audio and against the size of the model, with the law that they follow.
# --help says more.
set -euo pipefail

recipe=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
summary="What more untranscribed audio, or a larger model, buys: word error rates against both, at fixed labels and updates."
SMALL_OBJECTIVES=masked_prediction
SMALL_LABELS=10
SMALL_SEEDS=0,1
SMALL_UPDATES=1000
SMALL_HOURS=0.15,0.3,0.6
SMALL_MODELS=tiny
SMALL_CHOICES="
                            --hours $SMALL_HOURS --models $SMALL_MODELS"
SMALL_OMITS="two of three models, one of three seeds, two of five amounts of audio, so that the law has no floor, the arms \
without pretraining, and five sixths of it"
WHOLE_OBJECTIVES=scratch,log_mel,masked_prediction
WHOLE_LABELS=10
WHOLE_HOURS=0.04,0.08,0.15,0.3,0.6
WHOLE_MODELS=mini,tiny,small
WHOLE_CHOICES="
                            --hours $WHOLE_HOURS --models $WHOLE_MODELS"
# shellcheck source-path=SCRIPTDIR source=../common.sh
. "$recipe/../common.sh"
# shellcheck source-path=SCRIPTDIR source=../objectives.sh
. "$recipe/../objectives.sh"

hours=
models=
more_audio=()

recipe_help() {
    objectives_help
    cat <<'HELP'
  --hours 0.15,0.3,0.6
                     untranscribed audio, each amount a part of the greater ones: of the corpus's own training set, evenly
                     over its speakers, then of --untranscribed
  --untranscribed LIST_OR_DIR
                     more of it: a tab-separated list with a column path, and speaker and seconds where known, or a folder
                     of recordings; repeatable, in the order in which it is taken
  --models mini,tiny,small
                     0.7, 3.6 and 11.6 million parameters
  Every arm has the same labels and as many updates of pretraining and of fine-tuning: with more audio an update hears as
  much, of more variety.
HELP
}

recipe_option() {
    case $1 in
        --hours) hours=$(hour_list "$2") || exit 2 ;;
        --models) models=$(choice_list "$1" "$2" mini tiny small) || exit 2 ;;
        --untranscribed)
            [ -e "$2" ] || usage_error "--untranscribed: there is no list or folder $2"
            more_audio+=(--untranscribed "$(absolute_path "$2")")
            ;;
        *) objectives_option "$1" "$2" ;;
    esac
}

hour_list() {
    local word words=''
    for word in $(echo "$1" | tr ',' ' '); do
        case $word in
            *[!0-9.]* | *.*.* | .* | *.) usage_error "--hours is '$1'; expected numbers such as 0.3, with commas between them" ;;
            *[1-9]*) words="$words $word" ;;
            *) usage_error "--hours is '$1'; expected amounts over 0" ;;
        esac
    done
    [ -n "$words" ] || usage_error "--hours is empty; expected numbers such as 0.3, with commas between them"
    echo "$words"
}

# What the size gives and no option did, and the arms that come of it: scratch-MODEL, OBJECTIVE-MODEL-HOURSh.
settle_scaling() {
    local sizes_hours=$SMALL_HOURS sizes_models=$SMALL_MODELS model objective
    if [ "$size" = whole ]; then
        sizes_hours=$WHOLE_HOURS
        sizes_models=$WHOLE_MODELS
    fi
    hours=${hours:-$(hour_list "$sizes_hours")}
    models=${models:-$(choice_list --models "$sizes_models" mini tiny small)}
    untranscribed_lists=
    for amount in $hours; do
        untranscribed_lists="$untranscribed_lists pretrain_${amount}h"
    done
    case " $objectives " in *" log_mel "*) arms=" log_mel" ;; esac
    for model in $models; do
        for objective in $objectives; do
            case $objective in
                scratch) arms="$arms scratch-$model" ;;
                log_mel) ;;
                *) for amount in $hours; do arms="$arms $objective-$model-${amount}h"; done ;;
            esac
        done
    done
}

# The configuration of the model of an arm.
model_file() {
    local model=${1#*-}
    model=${model%-*}
    case $model in
        tiny) echo "$recipe/../conf/tiny.yaml" ;;
        *) echo "$recipe/conf/$model.yaml" ;;
    esac
}

# Usage: for_every_pretraining COMMAND , which finds "seed", "init" and "amount", the hours, set.
for_every_pretraining() {
    local seed init
    for seed in $seeds; do
        for init in $arms; do
            case $init in log_mel | scratch-*) continue ;; esac
            amount=${init##*-}
            "$@"
        done
    done
}

pretrain_arm() {
    speechssl pretrain --config "$(objective_config "${init%%-*}")" --model "$(model_file "$init")" \
        --training.seed "$seed" --output "$exp/seed$seed/pretrain_$init" --data.shards "$shards/pretrain_$amount"
}

finetune_sized() {
    [ "$init" = log_mel ] || arm+=(--model "$(model_file "$init")") # which has a model of its own
    finetune_arm
}

# What the middle block knows before it sees labels: characters, by a head on its frozen frames.
probe_arm() {
    local blocks list
    list=${labels# }
    list=${list%% *}
    blocks=$(sed -n 's/^ *num_layers: *//p' "$(model_file "$init")")
    [ -f "$exp/seed$seed/probe_$init/probe.json" ] || speechssl probe "$exp/seed$seed/pretrain_$init" --tasks '[ctc]' \
        --layers "[block_$(((blocks + 1) / 2))]" --baselines '[]' --num_seeds 1 --seed "$seed" \
        --train.shards "$shards/train_$list" --test.shards "$shards/test" --output "$exp/seed$seed/probe_$init"
}

parse_arguments "$@"
settle_objectives
settle_scaling

if stage 0 "lists"; then
    prepare_lists --hours "$(echo "${hours# }" | tr ' ' ',')" ${more_audio[@]+"${more_audio[@]}"}
fi
if stage 1 "shards"; then
    shard_lists
fi
if stage 2 "pretraining, without transcripts, and a probe of the middle block"; then
    for_every_pretraining pretrain_arm
    for_every_pretraining probe_arm
fi
if stage 3 "fine-tuning of each arm"; then
    for_every_arm finetune_sized
fi
if stage 4 "word error rates on the test set"; then
    for_every_arm evaluate_arm test
fi
report_and_end "$exp"
