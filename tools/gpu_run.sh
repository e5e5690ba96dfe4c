#!/usr/bin/env bash
# All that needs a GPU, in about twenty minutes: the GPU tests, the benchmarks, and timed pretrainings of base on made
# audio by contrast, by masked prediction and by self-distillation.
#
#     bash tools/gpu_run.sh [OUTPUT]
#
# uses the active Python environment, which needs speechssl's packages; transformers are compared with where they are
# installed. Everything printed is in OUTPUT/log.txt too, figures in OUTPUT/*.json. A step that fails does not stop the next.
set -uo pipefail

root=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
output=${1:-gpu_run}
mkdir -p "$output"
output=$(CDPATH='' cd -- "$output" && pwd)
cd "$root" || exit 1
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
python=${PYTHON:-python3}

peer=()
if "$python" -c 'import transformers' 2>/dev/null; then peer=(--peer huggingface); fi

# Usage: step SECONDS NAME COMMAND...
step() {
    local seconds=$1 name=$2
    shift 2
    printf '\n==== %s\n+ %s\n' "$name" "$*"
    timeout "$seconds" "$@" || printf '**** %s: exit status %d\n' "$name" "$?"
}

# The last line of a benchmark with --json, kept as a file.
bench() {
    local seconds=$1 name=$2
    shift 2
    step "$seconds" "$name" "$python" "$@" --device cuda --json | tee "$output/$name.txt"
    tail -n 1 "$output/$name.txt" >"$output/$name.json"
}

run_all() {
    nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv || true
    "$python" -c 'import torch; print("torch", torch.__version__, torch.cuda.get_device_name())' || return 1
    step 300 tests "$python" -m pytest -m gpu tests -q -ra
    # The published micro-batch, 87.5 s, as crops of 15.6 s; then what fits.
    bench 240 pretrain_base tools/bench_pretrain.py --models base --precisions bf16 --batch 6 --seconds 14.6 \
        ${peer[@]+"${peer[@]}"}
    bench 120 pretrain_base_large_batch tools/bench_pretrain.py --models base --precisions bf16 --batch 24 --seconds 14.6
    bench 240 pretrain_base_compiled tools/bench_pretrain.py --models base --precisions bf16 --batch 24 --seconds 14.6 \
        --compile
    bench 120 pretrain_large tools/bench_pretrain.py --models large --precisions bf16 --batch 6 --seconds 14.6
    bench 120 finetune_base tools/bench_finetune.py --models base --precisions bf16 --batch 8 --seconds 10 \
        ${peer[@]+"${peer[@]}"}
    bench 120 infer_base tools/bench_infer.py --models base --precisions fp32 bf16 --seconds 10 60
    bench 300 objectives tools/bench_objectives.py --model base --batch 6 --seconds 14.6 --rounds 5
    make_shards
    pretrain_for_real 240 contrastive 200
    pretrain_for_real 150 masked_prediction 100 --objective.units.fit_seconds 600
    pretrain_for_real 150 self_distillation 100
}

# Made audio as shards, and what each number of devices would make of it.
make_shards() {
    local data=$output/data
    [ -d "$data/audio" ] || step 120 "made audio" "$python" tools/make_noise.py "$data/audio" --hours 4
    step 120 shards "$python" -m speechssl shard "$data/audio" "$data/shards"
    printf 'model: base\n' >"$output/plan.yaml"
    step 240 plan "$python" -m speechssl plan "$output/plan.yaml" "$data/shards" --devices 1 8 64 \
        --output "$output/plan.json"
}

# Usage: pretrain_for_real SECONDS TASK UPDATES OPTION...
# Base by one pretext task, as published: throughput and the share of each update spent waiting for data.
pretrain_for_real() {
    local seconds=$1 task=$2 updates=$3
    shift 3
    printf 'model: base\nobjective:\n  name: %s\n' "$task" >"$output/pretrain_$task.yaml"
    step "$seconds" "pretraining, $task" "$python" -m speechssl pretrain --config "$output/pretrain_$task.yaml" \
        --data.shards "$output/data/shards" --output "$output/pretrain_$task" --data.num_streams 4 \
        --data.num_workers 8 --training.max_updates "$updates" --training.checkpoint_every "$updates" \
        --training.log_every 20 --health.on_failure warn "$@"
}

run_all 2>&1 | tee "$output/log.txt"
