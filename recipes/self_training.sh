# shellcheck shell=bash disable=SC2034,SC2154  # variables that run.sh and common.sh set or read
# Fine-tuning of an arm, with one round of self-training if it is asked for: the recogniser transcribes what has no
# transcripts, and the arm learns anew, from the same weights and for as many updates, from the transcripts of people and
# those of its own that it is sure of. Every arm does so, or none. A recipe sources this file after common.sh.

self_training=

self_training_help() {
    cat <<'HELP'
  --self-training 0.1
                     one round of self-training in every arm: its recogniser transcribes the untranscribed audio, and the
                     arm is fine-tuned anew on the given transcripts and on those; as many are kept, the surest first, as
                     have at most this share of wrong words on the held-out speech. Give it an --exp of its own
HELP
}

self_training_option() {
    case $1 in
        --self-training)
            case $2 in
                0.[0-9] | 0.[0-9][0-9]) self_training=$2 ;;
                *) usage_error "--self-training is '$2'; expected a share of wrong words such as 0.1" ;;
            esac
            ;;
        *) return 1 ;;
    esac
}

# Fine-tunes the arm of for_every_arm. Usage: finetune_arm TRAIN , a folder of "shards", and a list of "lists".
finetune_arm() {
    local train=$1 given pseudo teacher
    given=(--train.shards "$shards/$train" --dev.shards "$shards/dev")
    if [ -n "$self_training" ]; then
        teacher=$exp/seed$seed/teacher_${init}_$amount
        pseudo=$exp/seed$seed/pseudo_labels_${init}_$amount
        speechssl finetune "${arm[@]}" --output "$teacher" "${given[@]}" # the last of two equal options counts
        "$PYTHON" "$recipe/../pseudo_labels.py" "$teacher" "$lists/pretrain.tsv" "$lists/dev.tsv" "$lists/$train.tsv" \
            "$pseudo" --max-wer "$self_training"
        # There is no list where no transcript is sure enough, or everything has one: the arm learns as its teacher did.
        if [ -f "$pseudo/pseudo_labels.tsv" ]; then
            speechssl shard "$pseudo/pseudo_labels.tsv" "$pseudo/shards"
            given=(--train.shards "$shards/$train" "$pseudo/shards" --pseudo_labels "$pseudo/shards"
                --dev.shards "$shards/dev")
        fi
    fi
    speechssl finetune "${arm[@]}" "${given[@]}"
}
