#!/usr/bin/env bash
# torchrun.sh EXPERIMENT.yaml [OPTION ...]: one process for each GPU of this machine (two on a machine without).
# On several machines, run it on each with NODES, NODE (0, 1, ...) and MASTER (name of machine 0) set.
set -euo pipefail

export PATH="$PWD/.venv/bin:$PATH"
gpus=$(nvidia-smi --list-gpus 2>/dev/null | wc -l || true)
processes=${PROCESSES:-$((gpus > 0 ? gpus : 2))}
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

rendezvous=(--standalone)
if [ "${NODES:-1}" -gt 1 ]; then
    rendezvous=(--nnodes "$NODES" --node-rank "$NODE" --master-addr "$MASTER" --master-port "${PORT:-29500}")
fi
experiment=$1
shift
exec torchrun "${rendezvous[@]}" --nproc-per-node "$processes" -m mpma_lightning fit --config "$experiment" \
    --trainer.num_nodes "${NODES:-1}" --trainer.devices "$processes" --trainer.strategy ddp "$@"
