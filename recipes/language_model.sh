# shellcheck shell=bash disable=SC2034,SC2154  # variables that run.sh and common.sh set or read
# Decoding with a language model beside greedy decoding: a given n-gram, or one of each arm's own transcripts. Its weight is
# tuned on the held-out speech, for each recogniser. A recipe sources this file after common.sh, and hands what it does not
# know itself to language_model_option.

language_model=labels
# Options of the recipe's own for speechssl lm, and the folder of the shards that it learns from, if they are not
# train_AMOUNT.
lm_options=()
train_set=

language_model_help() {
    cat <<'HELP'
  --lm labels|FILE|none
                     decode with a language model too: a 3-gram of the transcripts that each arm learns from (default), an
                     n-gram in a file (ARPA, compressed or not), or none; its weight is tuned on the held-out speech
HELP
}

language_model_option() {
    case $1 in
        --lm)
            case $2 in
                labels | none) language_model=$2 ;;
                *)
                    [ -f "$2" ] || usage_error "--lm is '$2', expected labels, none, or the file of an n-gram"
                    language_model=$(absolute_path "$2")
                    ;;
            esac
            ;;
        *) return 1 ;;
    esac
}

# The n-gram for an amount of labels. Usage: language_model_file AMOUNT
language_model_file() {
    case $language_model in
        labels) echo "$exp/data/lm/$1.arpa" ;;
        *) echo "$language_model" ;;
    esac
}

# N-grams of the transcripts of each amount of labels, where that is asked for; after their shards.
make_language_models() {
    local amount file
    [ "$language_model" = labels ] || return 0
    mkdir -p "$exp/data/lm"
    for amount in $labels; do
        file=$(language_model_file "$amount")
        [ -f "$file" ] || speechssl lm --output "$file" --order 3 --shards "$shards/${train_set:-train_$amount}" \
            ${lm_options[@]+"${lm_options[@]}"}
    done
}

# Evaluates an arm greedily, and with the language model. Usage: evaluate_decodings DEV SET... , folders of shards; finds
# "run" and "amount" set.
evaluate_decodings() {
    local dev=$1 set
    shift
    for set in "$@"; do
        evaluate_arm "$set"
    done
    [ "$language_model" != none ] || return 0
    [ -f "$run/tune/decoding.yaml" ] || speechssl tune "$run" "$run/tune" --data.shards "$shards/$dev" \
        --decoding.language_model "$(language_model_file "$amount")"
    for set in "$@"; do
        speechssl evaluate "$run" --config "$run/tune/decoding.yaml" --data.shards "$shards/$set" \
            --output "$run/evaluate_${set}_lm"
    done
}
