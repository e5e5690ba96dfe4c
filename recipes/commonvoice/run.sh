#!/usr/bin/env bash
# A language of Common Voice, with its tables as they are: from scratch and pretrained on all that is not scored. --help
# says more.
set -euo pipefail

recipe=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
summary="Pretraining, fine-tuning and error rates on a language of Common Voice."
conf=$recipe/../an4/conf
# shellcheck source-path=SCRIPTDIR source=../common.sh
. "$recipe/../common.sh"
# shellcheck source-path=SCRIPTDIR source=../pretraining.sh
. "$recipe/../pretraining.sh"
# shellcheck source-path=SCRIPTDIR source=../language_model.sh
. "$recipe/../language_model.sh"

corpus=
language=
labels=full
arms="scratch log_mel pretrained"

recipe_help() {
    pretraining_help
    cat <<'HELP'
  --corpus DIR       a language's folder of Common Voice, for stages 0 and 1: clips/, train.tsv, dev.tsv and test.tsv; the
                     recordings of other.tsv, which nobody has checked, are for pretraining
  --language tr      code of the language, for the case of its letters (default: the folder's name)
  --inits scratch,log_mel,pretrained
                     arms with random weights, with random ones and no transformer, with pretrained ones (default: all)
  The configurations are those of recipes/an4/conf, for all its labels; conf/writing.yaml says how transcripts are written.
  Of a language without spaces the character error rate is what counts.
HELP
    language_model_help
}

recipe_option() {
    case $1 in
        --corpus) corpus=$(absolute_path "$2") ;;
        --language)
            case $2 in
                *[!A-Za-z-]* | '') usage_error "--language is '$2'; expected a code such as tr or zh-CN" ;;
            esac
            language=$2
            ;;
        --inits) arms=$(choice_list "$1" "$2" scratch log_mel pretrained) || exit 2 ;;
        *) pretraining_option "$1" "$2" || language_model_option "$1" "$2" ;;
    esac
}

# What the recipe cannot do without.
check_corpus() {
    local name missing=''
    [ -n "$corpus" ] || fail "this recipe needs a language of Common Voice: --corpus DIR." \
        "Get one from https://commonvoice.mozilla.org/datasets , unpack it, and give the folder that holds clips/."
    for name in clips train.tsv dev.tsv test.tsv; do
        [ -e "$corpus/$name" ] || missing="$missing $corpus/$name"
    done
    [ -z "$missing" ] || fail "there is no$missing." "Give the folder of one language, with clips/ and its tables in it."
}

finetune_language() {
    speechssl finetune "${arm[@]}" --text "$writing" --text.language "$language" --targets.name graphemes \
        --train.shards "$shards/train" --dev.shards "$shards/dev"
}

parse_arguments "$@"
check_pretraining
[ "$units" != recogniser ] || usage_error "--units recogniser is not for this recipe"
[ "$first_stage" -gt 1 ] || check_corpus
language=${language:-$(basename "${corpus:-unknown}")}
ensure_environment quickstart
check_overrides
shards=$exp/data/shards
writing=$recipe/conf/writing.yaml
train_set=train
lm_options=(--writing "$writing" --writing.language "$language")

if stage 1 "shards"; then
    speechssl shard "$corpus" "$shards" --split source --text_case keep
    [ ! -f "$corpus/other.tsv" ] || speechssl shard "$corpus/other.tsv" "$exp/data/other" --text_case keep
    make_language_models
fi

if [[ " $arms " == *" pretrained "* ]] && stage 2 "pretraining, without transcripts"; then
    untranscribed=("$shards/train")
    [ ! -d "$exp/data/other" ] || untranscribed+=("$exp/data/other")
    for seed in $seeds; do
        pretrain_seed "$seed" full "$shards/train" "$shards/dev" --data.shards "${untranscribed[@]}"
    done
fi

if stage 3 "fine-tuning of each arm"; then
    for_every_arm finetune_language
fi

if stage 4 "error rates on the test set"; then
    for_every_arm evaluate_decodings dev test
fi

report_and_end "$exp"
