# shellcheck shell=bash disable=SC2034,SC2154  # variables that run.sh and common.sh set or read
# Arms of several pretext tasks on several amounts of labels, shared by recipes that compare them. A recipe sources this
# file after common.sh, hands what it does not know itself to objectives_option, and calls settle_objectives after
# parse_arguments. It sets SMALL_OBJECTIVES, SMALL_LABELS and the same of WHOLE before, and may set SMALL_SEEDS,
# SMALL_UPDATES (of pretraining), SMALL_OMITS (in words), SMALL_CHOICES and WHOLE_CHOICES (options of its own, for the
# help). The configurations are those of the recipe an4, where docs/experiments.md says what was tried.

conf=$recipe/../an4/conf
corpus=
size=small
objectives=
labels=
# What pretraining hears, lists of prepare.py; and the arms, where they are not the objectives.
untranscribed_lists=pretrain
arms=
SMALL_SEEDS=${SMALL_SEEDS:-0}
SMALL_UPDATES=${SMALL_UPDATES:-2000}
SMALL_CHOICES=${SMALL_CHOICES:-}
WHOLE_CHOICES=${WHOLE_CHOICES:-}
SMALL_OMITS=${SMALL_OMITS:-two of three seeds, two thirds of pretraining, pretext tasks and amounts of labels}

objectives_help() {
    cat <<HELP
  --corpus DIR       needed for stages 0 and 1: a folder with train.tsv and test.tsv (columns path, speaker, seconds, text) and
                     the audio they name, or the unpacked archive of CMU AN4
  --size small|whole what is run unless an option says otherwise (default small, about half an hour on two CPU cores):
                     small  --objectives $SMALL_OBJECTIVES --labels $SMALL_LABELS --seeds $SMALL_SEEDS$SMALL_CHOICES,
                            pretraining of $SMALL_UPDATES updates instead of 6000
                     whole  --objectives $WHOLE_OBJECTIVES --labels $WHOLE_LABELS --seeds 0,1,2$WHOLE_CHOICES
  --objectives scratch,log_mel,contrastive,...
                     the arms: random weights; the same without a transformer, a recogniser on log-mel energies; and
                     pretrained by each of these pretext tasks: $(pretext_tasks)
  --labels 1,10,full transcribed audio of the arms: whole minutes, each amount a part of the greater ones, or all but the
                     held-out speakers
  The configurations are those of recipes/an4/conf.
HELP
}

objectives_option() {
    case $1 in
        --corpus) corpus=$(absolute_path "$2") ;;
        --size)
            case $2 in
                small | whole) size=$2 ;;
                *) usage_error "--size is '$2'; expected small or whole" ;;
            esac
            ;;
        --objectives) objectives=$(arm_list "$2") || exit 2 ;;
        --labels) labels=$(label_list "$2") || exit 2 ;;
        *) return 1 ;;
    esac
}

arm_list() {
    # shellcheck disable=SC2046  # a word for each
    choice_list --objectives "$1" scratch log_mel $(pretext_tasks)
}

is_pretrained() {
    case $1 in
        scratch | log_mel) return 1 ;;
    esac
}

# Names of amounts of labels, which are those of lists, shards and runs: 5min, full.
label_list() {
    local word words=''
    for word in $(echo "$1" | tr ',' ' '); do
        case $word in
            full) words="$words full" ;;
            0* | *[!0-9]*) usage_error "--labels is '$1'; expected whole minutes or full, with commas between them" ;;
            *) words="$words ${word}min" ;;
        esac
    done
    [ -n "$words" ] || usage_error "--labels is empty; expected whole minutes or full, with commas between them"
    echo "$words"
}

# What the size asks for and no option did. Overrides of the user's own come later on a command line, and count.
settle_objectives() {
    local sizes_objectives=$SMALL_OBJECTIVES sizes_labels=$SMALL_LABELS
    if [ "$size" = whole ]; then
        sizes_objectives=$WHOLE_OBJECTIVES
        sizes_labels=$WHOLE_LABELS
        [ "$seeds_given" = yes ] || seeds="0 1 2"
    else
        echo "A small run. It leaves out, of what --size whole does: $SMALL_OMITS."
        [ "$seeds_given" = yes ] || seeds=$(seed_list "$SMALL_SEEDS")
        override_verbs=(pretrain ${override_verbs[@]+"${override_verbs[@]}"})
        override_words=("--training.max_updates=$SMALL_UPDATES" ${override_words[@]+"${override_words[@]}"})
    fi
    objectives=${objectives:-$(arm_list "$sizes_objectives")}
    labels=${labels:-$(label_list "$sizes_labels")}
    if [ "$first_stage" -le 0 ] && [ -z "$corpus" ]; then
        fail "this recipe needs a transcribed corpus: --corpus DIR, a folder with train.tsv and test.tsv." \
            "See bash recipes/$(basename "$recipe")/run.sh --help"
    fi
    ensure_environment quickstart
    check_objectives
    lists=$exp/data/manifests
    shards=$exp/data/shards
}

# A mistyped override is named now, by the configuration of each pretext task.
check_objectives() {
    local objective
    [ ${#override_verbs[@]} -gt 0 ] || return 0
    for objective in $objectives; do
        ! is_pretrained "$objective" || run_verb pretrain --config "$(objective_config "$objective")" --print_config >/dev/null
    done
    run_verb finetune --config "$conf/finetune.yaml" --print_config >/dev/null
}

# Usage: prepare_lists OPTION... , which go to prepare.py.
prepare_lists() {
    local name minutes=''
    for name in $labels; do
        [ "$name" = full ] || minutes=$minutes,${name%min}
    done
    "$PYTHON" "$recipe/../an4/local/prepare.py" "$corpus" "$lists" --minutes "${minutes#,}" "$@"
}

shard_lists() {
    local list
    for list in $untranscribed_lists dev test; do
        speechssl shard "$lists/$list.tsv" "$shards/$list"
    done
    for list in $labels; do
        speechssl shard "$lists/train_$list.tsv" "$shards/train_$list"
    done
}

pretrain_objectives() {
    local seed objective
    for seed in $seeds; do
        for objective in $objectives; do
            is_pretrained "$objective" || continue
            speechssl pretrain --config "$(objective_config "$objective")" --training.seed "$seed" \
                --output "$exp/seed$seed/pretrain_$objective" --data.shards "$shards/pretrain"
        done
    done
}

finetune_arm() {
    speechssl finetune "${arm[@]}" --train.shards "$shards/train_$amount" --dev.shards "$shards/dev"
}
