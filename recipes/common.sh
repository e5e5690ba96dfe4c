# shellcheck shell=bash disable=SC2034,SC2154  # variables that run.sh reads or sets
# What every recipe shares: its command line, its stages, and a speechssl that knows the overrides. A recipe's run.sh
# sources this file and sets "recipe" (its folder) and "summary" (a line for --help). Runs with bash 3.2.

# shellcheck source-path=SCRIPTDIR source=../tools/environment.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../tools/environment.sh"

LAST_STAGE=5
first_stage=0
last_stage=$LAST_STAGE
seeds=0
seeds_given=
# Overrides word by word, beside the verb that each word is for.
override_verbs=()
override_words=()
started=$SECONDS

print_help() {
    cat <<HELP
usage: bash recipes/$(basename "$recipe")/run.sh [options] [-- overrides]

$summary

  --stage N          first stage to run (default 0)
  --stop-stage N     last stage to run (default $LAST_STAGE)
                     0 set-up and corpus, 1 shards, 2 pretraining, 3 fine-tuning of each arm, 4 evaluation, 5 report
  --seeds 0,1,2      repeat pretraining and fine-tuning with each of these seeds (default 0)
  --exp DIR          folder of every output, results.json at its top (default $recipe/exp)
HELP
    if [ "$(type -t recipe_help)" = function ]; then recipe_help; fi
    cat <<HELP
  --help             this text

Overrides of the configuration follow "--", each with the verb it is for (shard, pretrain, finetune, lm, tune,
evaluate):

  -- --pretrain.training.max_updates 10 --finetune.optimizer.learning_rate 1e-3

One without a verb is for both pretrain and finetune. "speechssl pretrain --help" lists what can be set. The configuration
itself is in conf/pretrain*.yaml and conf/finetune.yaml; what differs between arms stands in conf/finetune_LABELS.yaml,
conf/finetune_INIT.yaml and conf/finetune_INIT_LABELS.yaml, read in this order where they exist (INIT is scratch or
pretrained).

Finished shards, training runs and evaluations are not made again: after an interruption the same command goes on from
there. Give a trial with other settings an --exp of its own. Exit status: 0 done, 2 something is missing or wrong, 3 a
training run was stopped because it was not learning.
HELP
}

# A recipe with options of its own defines recipe_option NAME VALUE: it returns 1 for a name that it does not know.
parse_arguments() {
    local name value
    exp=$recipe/exp
    while [ $# -gt 0 ]; do
        case $1 in
            --help | -h)
                print_help
                exit 0
                ;;
            --)
                shift
                parse_overrides "$@"
                break
                ;;
            --*=*)
                name=${1%%=*}
                value=${1#*=}
                shift
                ;;
            --*)
                name=$1
                [ $# -ge 2 ] || usage_error "$name needs a value, or is unknown"
                value=$2
                shift 2
                ;;
            *) usage_error "unexpected argument '$1'" ;;
        esac
        set_option "$name" "$value"
    done
    [ "$first_stage" -le "$last_stage" ] || usage_error "--stage $first_stage is after --stop-stage $last_stage"
}

set_option() {
    case $1 in
        --stage) first_stage=$(stage_number "$1" "$2") || exit 2 ;;
        --stop-stage) last_stage=$(stage_number "$1" "$2") || exit 2 ;;
        --seeds)
            seeds=$(seed_list "$2") || exit 2
            seeds_given=yes
            ;;
        --exp)
            [ -n "$2" ] || usage_error "--exp needs a folder"
            exp=$(absolute_path "$2")
            ;;
        *)
            if [ "$(type -t recipe_option)" != function ] || ! recipe_option "$1" "$2"; then
                case $1 in
                    --*.*) usage_error "unknown option '$1'; overrides of the configuration follow '--'" ;;
                    *) usage_error "unknown option '$1'" ;;
                esac
            fi
            ;;
    esac
}

usage_error() {
    fail "$1." "See bash recipes/$(basename "$recipe")/run.sh --help"
}

stage_number() {
    case $2 in
        [0-9]) [ "$2" -le "$LAST_STAGE" ] && echo "$2" && return ;;
    esac
    usage_error "$1 is '$2'; expected a whole number from 0 to $LAST_STAGE"
}

seed_list() {
    case ,$1, in
        *,,* | *[!0-9,]*) usage_error "--seeds is '$1'; expected whole numbers with commas between them, as in 0,1,2" ;;
    esac
    echo "$1" | tr ',' ' '
}

# The words of a comma-separated value, all of them among the choices. Usage: choice_list NAME VALUE CHOICE...
choice_list() {
    local name=$1 value=$2 word words=''
    shift 2
    for word in $(echo "$value" | tr ',' ' '); do
        case " $* " in
            *" $word "*) words="$words $word" ;;
            *) usage_error "$name is '$value'; expected one or more of $*, with commas between them" ;;
        esac
    done
    [ -n "$words" ] || usage_error "$name is empty; expected one or more of $*"
    echo "$words"
}

# Pretext tasks that there is a configuration for.
pretext_tasks() {
    local file names=''
    for file in "${conf:-$recipe/conf}"/pretrain_*.yaml; do
        file=${file##*/pretrain_}
        names="$names ${file%.yaml}"
    done
    echo "${names# }"
}

objective_config() {
    echo "${conf:-$recipe/conf}/pretrain_$1.yaml"
}

# Relative paths count from where the user stands.
absolute_path() {
    case $1 in
        /*) printf '%s\n' "$1" ;;
        *) printf '%s/%s\n' "$PWD" "$1" ;;
    esac
}

parse_overrides() {
    local verbs='' word verb
    for word in "$@"; do
        case $word in
            --shard.* | --pretrain.* | --finetune.* | --lm.* | --tune.* | --evaluate.*)
                verbs=${word#--}
                verbs=${verbs%%.*}
                word=--${word#--"$verbs".}
                ;;
            --*) verbs="pretrain finetune" ;;
        esac
        [ -n "$verbs" ] || usage_error "'$word' after '--' is no override; they look like --pretrain.training.max_updates 10"
        for verb in $verbs; do
            override_verbs+=("$verb")
            override_words+=("$word")
        done
    done
}

# A mistyped override is named now, not when its stage comes. Usage: check_overrides [CONFIGURATION OF FINE-TUNING]
check_overrides() {
    [ ${#override_verbs[@]} -gt 0 ] || return 0
    run_verb pretrain --config "$pretrain_config" --print_config >/dev/null
    run_verb finetune --config "${1:-${conf:-$recipe/conf}/finetune.yaml}" --print_config >/dev/null
}

# True if the stage is to be run; announces it. Usage: if stage 2 "Pretraining"; then ...
stage() {
    [ "$1" -ge "$first_stage" ] && [ "$1" -le "$last_stage" ] || return 1
    printf '\n==== Stage %s: %s (at %s)\n' "$1" "$2" "$(elapsed)"
}

elapsed() {
    local seconds=$((SECONDS - started))
    printf '%d:%02d min' $((seconds / 60)) $((seconds % 60))
}

# speechssl as a user would type it, shown on the terminal, with the overrides for its verb at the end.
speechssl() {
    printf '+ speechssl'
    printf ' %q' "$@"
    printf '\n'
    run_verb "$@"
}

run_verb() {
    local i
    for ((i = 0; i < ${#override_verbs[@]}; i++)); do
        if [ "${override_verbs[$i]}" = "$1" ]; then
            set -- "$@" "${override_words[$i]}"
        fi
    done
    "$PYTHON" -m speechssl "$@"
}

# Sets "run", the folder of a fine-tuning run, and "arm", the options of speechssl finetune that make it that arm. INIT is
# scratch, log_mel (scratch without a transformer), pretrained, or the pretext task of a recipe that has several, whose
# runs are seedN/pretrain_INIT; scratch-MODEL where a recipe has several models.
# Usage: choose_arm SEED INIT LABELS
choose_arm() {
    local folder=${conf:-$recipe/conf} name init=$2 encoder=
    run=$exp/seed$1/finetune_$2_$3
    case $2 in
        scratch | log_mel) ;;
        scratch-*) init=scratch ;;
        pretrained) encoder=$exp/seed$1/pretrain ;;
        *) init=pretrained encoder=$exp/seed$1/pretrain_$2 ;;
    esac
    arm=(--config "$folder/finetune.yaml")
    for name in "$3" "$init" "${init}_$3"; do
        if [ -f "$folder/finetune_$name.yaml" ]; then
            arm+=(--config "$folder/finetune_$name.yaml")
        fi
    done
    arm+=(--output "$run" --training.seed "$1")
    [ -z "$encoder" ] || arm+=(--init "$encoder")
}

# Usage: for_every_arm COMMAND ARGUMENT... , which finds "run", "arm", "seed", "init" and "amount" set.
for_every_arm() {
    local seed init
    for seed in $seeds; do
        for amount in $labels; do
            for init in ${arms:-$objectives}; do
                choose_arm "$seed" "$init" "$amount"
                "$@"
            done
        done
    done
}

# Usage: evaluate_arm SET , a folder of shards and the name of the set in the report.
evaluate_arm() {
    speechssl evaluate "$run" --data.shards "$shards/$1" --output "$run/evaluate_$1"
}

# The last stage of every recipe. Usage: report_and_end EXP OPTION... , of speechssl report.
report_and_end() {
    if stage 5 "report"; then
        speechssl report "$1" --recipe "$(basename "$recipe")" "${@:2}"
    fi
    printf '\nDone at %s; everything is in %s\n' "$(elapsed)" "$1"
}
