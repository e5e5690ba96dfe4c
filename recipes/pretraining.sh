# shellcheck shell=bash disable=SC2034,SC2154  # variables that run.sh and common.sh set or read
# Pretraining by any pretext task, at once or in two iterations: masked prediction of the units of an earlier encoder,
# which is pretrained first. A recipe sources this file after common.sh, has conf/pretrain_contrastive.yaml and
# conf/pretrain_masked_prediction.yaml, and hands what it does not know itself to pretraining_option.

objective=masked_prediction
units=log_mel
units_layer=

pretraining_help() {
    cat <<'HELP'
  --objective NAME   pretext task of pretraining: masked_prediction (default), or another that conf/pretrain_NAME.yaml is
                     for, such as contrastive; give each an --exp of its own
  --units log_mel|contrastive|iteration|recogniser
                     what masked prediction predicts: units of log-mel energies (default), or units of a layer of an
                     encoder that is pretrained before it, by the contrastive task, by masked prediction of log-mel units
                     (iteration: a second iteration), or by that and then fine-tuned on the few transcripts (recogniser);
                     pretraining takes twice as long. Give each an --exp of its own
  --units-layer N    block of that encoder (default 4 of a recogniser, 3 of the others)
HELP
}

pretraining_option() {
    case $1 in
        --objective)
            [ -f "$(objective_config "$2")" ] || usage_error "--objective is $2, expected one of $(pretext_tasks)"
            objective=$2
            ;;
        --units)
            case $2 in
                log_mel | contrastive | iteration | recogniser) units=$2 ;;
                *) usage_error "--units is $2, expected log_mel, contrastive, iteration or recogniser" ;;
            esac
            ;;
        --units-layer)
            case $2 in
                [1-9] | [1-9][0-9]) units_layer=$2 ;;
                *) usage_error "--units-layer is '$2'; expected a whole number from 1" ;;
            esac
            ;;
        *) return 1 ;;
    esac
}

# What cannot be asked for together. After parse_arguments.
check_pretraining() {
    [ "$units" = log_mel ] || [ "$objective" = masked_prediction ] ||
        usage_error "--units $units is for --objective masked_prediction, not $objective"
    [ -z "$units_layer" ] || [ "$units" != log_mel ] || usage_error "--units-layer is for --units other than log_mel"
    pretrain_config=$(objective_config "$objective")
}

# Pretrains into seedN/pretrain, with the encoder of the units before it where they are of one: in seedN/pretrain_first,
# and seedN/recogniser. Usage: pretrain_seed SEED LABELS TRAIN_SHARDS DEV_SHARDS OPTION... ; LABELS are those of the arm
# whose configuration the recogniser is fine-tuned by, OPTIONs go to every pretraining.
pretrain_seed() {
    local seed=$1 labels=$2 train=$3 dev=$4 folder=$exp/seed$1 source layer
    shift 4
    if [ "$units" = log_mel ]; then
        pretrain_into "$folder/pretrain" "$objective" "$seed" "$@"
        return
    fi
    source=$folder/pretrain_first
    layer=${units_layer:-3}
    case $units in
        contrastive) pretrain_into "$source" contrastive "$seed" "$@" ;;
        iteration) pretrain_into "$source" masked_prediction "$seed" "$@" ;;
        recogniser)
            pretrain_into "$source" masked_prediction "$seed" "$@"
            choose_arm "$seed" pretrained "$labels" # the last of two equal options counts
            speechssl finetune "${arm[@]}" --init "$source" --output "$folder/recogniser" \
                --train.shards "$train" --dev.shards "$dev"
            source=$folder/recogniser
            layer=${units_layer:-4}
            ;;
    esac
    pretrain_into "$folder/pretrain" masked_prediction "$seed" "$@" \
        --objective.units.features layer --objective.units.checkpoint "$source" --objective.units.layer "$layer"
}

# Usage: pretrain_into RUN OBJECTIVE SEED OPTION...
pretrain_into() {
    local run=$1 config seed=$3
    config=$(objective_config "$2")
    shift 3
    speechssl pretrain --config "$config" --output "$run" --training.seed "$seed" "$@"
}
