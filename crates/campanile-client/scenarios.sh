#!/bin/sh
# The runs of docs/loadtest.md, one after the other, each against a fresh server on this machine.
#
#   crates/campanile-client/scenarios.sh [DIR]      reports land in DIR as JSON [default: target/loadtest]
#
# Environment: PROFILE (debug or release, must be built) or BIN (the folder it is in), DURATION (seconds), ONLY (name of one
# scenario), EXTRA (more flags for every run, e.g. --anyway on a busy machine).
set -eu
cd "$(dirname "$0")/../.."
out=${1:-target/loadtest}
bin=${BIN:-target/${PROFILE:-debug}}
duration=${DURATION:-20}
mkdir -p "$out"

# Starts the server with these arguments, and waits until it has said where it is.
start() {
    "$bin/campanile" "$@" --json >"$out/dev.json" 2>"$out/server.log" &
    server=$!
    tries=0
    until [ -s "$out/dev.json" ] || [ $tries -ge 100 ]; do
        sleep 0.1
        tries=$((tries + 1))
    done
}

serve() {
    data=$(mktemp -d)
    start dev --listen "127.0.0.1:${1:-0}" --media "127.0.0.1:${2:-0}" --data-dir "$data"
}

# A service whose meetings hold more people than the documented 250.
serve_large() {
    data=$(mktemp -d)
    cat >"$data/campanile.toml" <<EOF
listen = "127.0.0.1:0"
media = "127.0.0.1:0"
data-dir = "$data/records"
[quotas]
attendees = $1
requests-per-second = 0
[[account]]
id = "111122223333"
[[account.user]]
name = "load"
access-key-id = "AKIALOADTEST00000000"
secret-access-key = "Zk3vQ8rT1yUe5wXo9pLs2dFg7hJk4mNb6cVa"
policies = ["AmazonChimeSDK"]
EOF
    AWS_ACCESS_KEY_ID=AKIALOADTEST00000000
    AWS_SECRET_ACCESS_KEY="Zk3vQ8rT1yUe5wXo9pLs2dFg7hJk4mNb6cVa"
    export AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
    start serve --config "$data/campanile.toml"
}

run() {
    name=$1
    shift
    [ -z "${ONLY:-}" ] || [ "$ONLY" = "$name" ] || return 0
    if [ "$name" = broadcast ]; then serve_large 301; else serve; fi
    echo "== $name: campanile-load $* --duration $duration"
    code=0
    # shellcheck disable=SC2086 # EXTRA is a list of words
    "$bin/campanile-load" --dev-json "$out/dev.json" --duration "$duration" --json "$@" ${EXTRA:-} \
        >"$out/$name.json" 2>"$out/$name.txt" || code=$?
    echo "   exit code $code"
    kill "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
    rm -rf "$data" "$out/dev.json"
}

run large --meetings 1 --attendees 250 --speakers 3 --join-rate 25 --light 0.9
run storm --meetings 1 --attendees 200 --speakers 2 --join-rate 50 --light 0.95
run many --meetings 50 --attendees 5 --speakers 1 --join-rate 25 --light 0.6
run broadcast --meetings 1 --attendees 301 --speakers 1 --publishers 1 --join-rate 25 --light 0.97 --quiet
run grid --meetings 1 --attendees 25 --speakers 3 --publishers 25 --simulcast --small --join-rate 10
run vp9 --meetings 1 --attendees 10 --speakers 2 --publishers 4 --codec vp9 --server-layers
run av1 --meetings 1 --attendees 10 --speakers 2 --publishers 4 --codec av1
run lossy --meetings 1 --attendees 10 --speakers 3 --publishers 3 --loss 3 --jitter-ms 20 --reorder 1 \
    --min-audio 0.9 --min-video 0.9 --max-mix-minus 1000
run leavers --meetings 2 --attendees 12 --speakers 2 --leavers 4 --checked 1

# The server dies at the middle of the run and comes back on the same ports with the same records.
if [ -z "${ONLY:-}" ] || [ "$ONLY" = restart ]; then
    serve 18480 18481
    echo "== restart: killed after a third of $duration s, back 2 s later"
    pid=$server
    "$bin/campanile-load" --dev-json "$out/dev.json" --meetings 1 --attendees 20 --speakers 3 --publishers 2 \
        --join-rate 20 --duration "$duration" --json --min-audio 0 --min-video 0 --max-mix-minus 1000 ${EXTRA:-} \
        >"$out/restart.json" 2>"$out/restart.txt" &
    load=$!
    sleep $((5 + duration / 3))
    kill -9 "$pid"
    wait "$pid" 2>/dev/null || true
    sleep 2
    "$bin/campanile" dev --listen 127.0.0.1:18480 --media 127.0.0.1:18481 --data-dir "$data" 2>>"$out/server.log" &
    server=$!
    code=0
    wait "$load" || code=$?
    echo "   exit code $code"
    kill "$server"
    rm -rf "$data" "$out/dev.json"
fi
