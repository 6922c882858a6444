#!/usr/bin/env bash
# An experiment as a Slurm job, on a Ray cluster of its own that ends with it. From the repository's root, in a shell
# where `brainage` and `ray` are found (sbatch passes the environment on):
#
#   sbatch cluster/slurm.sh experiments/bracis2023.yaml --workspace /scratch/me/runs --set data.root=/scratch/me/adni
#
# What follows the experiment are options of `brainage run`; --address is the script's. Nodes, cores, memory, GPUs and
# hours are the lines below, or options of sbatch before the script's name. This folder, the data and the workspace
# (runs/, if not named) have to lie where all nodes see them.
#
# Five minutes before its time is up the job is told; brainage saves and ends, and the job queues again to go on from
# its files, as it does when a node fails. `scancel --batch --signal=TERM JOB` ends it as gently, without a second turn.
# The page of Ray listens on the first node's loopback: the log says how to reach it.
#
#SBATCH --job-name=brainage
#SBATCH --output=brainage-%j.log
#SBATCH --open-mode=append
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gpus-per-node=1
#SBATCH --mem=64G
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@300
#SBATCH --requeue
set -euo pipefail

fail() {
    echo "slurm.sh: $1" >&2
    exit 1
}

[[ -n ${SLURM_JOB_ID:-} ]] || fail "Slurm did not start this. Write: sbatch cluster/slurm.sh EXPERIMENT [OPTIONS]"
(($# > 0)) || fail "No experiment is named. Write: sbatch cluster/slurm.sh EXPERIMENT [OPTIONS]"
for program in ray brainage; do
    command -v "$program" > /dev/null || fail "$program is not on the PATH. Activate its environment, then sbatch again."
done

nodes=$SLURM_JOB_NUM_NODES
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed -n 1p)
# The address that the other nodes reach the head by; say HEAD_IP=... where that is not what its name leads to.
address=${HEAD_IP:-$(getent ahostsv4 "$head" | awk '$1 !~ /^127\./ && !found++ {print $1}')}
[[ -n $address ]] || address=$(hostname -I | awk '{print $1}')

# All of it from the job's number, so that jobs which share a node do not meet. /tmp is short, as sockets want, and local.
port=$((20000 + SLURM_JOB_ID % 10000))
page=$((port + 10000))
folder=/tmp/ray-$SLURM_JOB_ID
limit=${WAIT_SECONDS:-300}
common=(--block --temp-dir="$folder" --num-cpus="${SLURM_CPUS_PER_TASK:-1}" --min-worker-port=0 --max-worker-port=0
    --dashboard-agent-listen-port=0)
# Ray would count the whole machine's memory. A part is for the system, a part for Ray's own objects.
if [[ -n ${SLURM_MEM_PER_NODE:-} ]]; then
    common+=(--memory=$((SLURM_MEM_PER_NODE * 1048576 * 75 / 100)))
    common+=(--object-store-memory=$((SLURM_MEM_PER_NODE * 1048576 * 15 / 100)))
fi

# Ray's client server, which nobody here uses, comes along where grpc is installed, and always to the same port.
client=(--disable-usage-stats)
! python3 -c "import grpc" 2> /dev/null || client+=(--ray-client-server-port=$((port + 20000)))

# A token for this job, which you alone can read. Ray asks for it at every port.
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$PWD/.ray-token-$SLURM_JOB_ID
(umask 077 && od -An -N32 -tx1 /dev/urandom | tr -d ' \n' > "$RAY_AUTH_TOKEN_PATH")

steps=()
driver=
stopped=

# Start a part of Ray on nodes that options of srun name: start OPTIONS -- OPTIONS OF RAY START.
start() {
    local where=()
    while [[ $1 != -- ]]; do where+=("$1") && shift; done
    shift
    # shellcheck disable=SC2016 # for the shell on the node
    srun "${where[@]}" --ntasks-per-node=1 --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" bash -c \
        'ulimit -n "$(ulimit -Hn)"; mkdir -p -m 700 "$0" && exec ray start "$@"' "$folder" "$@" "${common[@]}" &
    steps+=("$!")
}

stop() {
    stopped=yes
    [[ -z $driver ]] || kill -TERM "$driver" 2> /dev/null || true
}

# End this job's Ray, which are its steps, and nobody else's; then queue again if it was time that ran out.
finish() {
    local status=$?
    trap '' TERM
    trap - EXIT
    kill -TERM "${steps[@]}" 2> /dev/null || true
    wait "${steps[@]}" || true
    srun --nodes="$nodes" --ntasks="$nodes" --ntasks-per-node=1 rm -rf "$folder" || true
    rm -f "$RAY_AUTH_TOKEN_PATH"
    if [[ -n $stopped && $status -ne 0 ]] && ((${SLURM_JOB_END_TIME:-0} > 0)) &&
        ((SLURM_JOB_END_TIME - $(date +%s) < 600)); then
        echo "slurm.sh: Time is up. The job queues again and goes on from its files."
        scontrol requeue "$SLURM_JOB_ID" || echo "slurm.sh: Slurm did not queue it again; the same sbatch goes on." >&2
    fi
    exit "$status"
}

# Wait until a check succeeds, the limit has passed, a step has ended, or the job is told to stop.
wait_until() {
    local what=$1 step
    shift
    until "$@"; do
        [[ -z $stopped ]] || exit 143
        for step in "${steps[@]}"; do
            kill -0 "$step" 2> /dev/null || fail "Ray ended on a node before $what; its own words are above."
        done
        ((SECONDS < limit)) || fail "After $limit s still not: $what. Nodes: $SLURM_JOB_NODELIST. Can they reach\
 $address:$port? More time: WAIT_SECONDS=600 sbatch ..."
        sleep 1
    done
}

listens() { (exec 3<> "/dev/tcp/$address/$port") 2> /dev/null; }

all_joined() {
    [[ $(python3 -c "
import ray
ray.init('$address:$port', logging_level='ERROR', log_to_driver=False)
print(sum(node['Alive'] for node in ray.nodes()))") -ge $nodes ]]
}

trap stop TERM
start --nodes=1 --ntasks=1 --nodelist="$head" -- --head --node-ip-address="$address" --port="$port" \
    --dashboard-host=127.0.0.1 --dashboard-port="$page" "${client[@]}"
trap finish EXIT
wait_until "the head listens" listens
if ((nodes > 1)); then
    start --nodes=$((nodes - 1)) --ntasks=$((nodes - 1)) --exclude="$head" -- --address="$address:$port" --disable-usage-stats
fi
wait_until "all $nodes nodes have joined" all_joined
echo "slurm.sh: Ray runs on $nodes nodes. Its page: ssh -L 8265:127.0.0.1:$page $head, then http://localhost:8265"

brainage run "$@" --address "$address:$port" &
driver=$!
[[ -z $stopped ]] || stop
status=0
wait "$driver" || status=$?
# A signal ends `wait` too: wait again until brainage has ended by itself.
while kill -0 "$driver" 2> /dev/null; do
    status=0
    wait "$driver" || status=$?
done
exit "$status"
