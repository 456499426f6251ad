#!/usr/bin/env bash
# From a clean clone to a session, with the real programs and a stopwatch.
#
#   e2e/first-session.sh [REPOSITORY]
#
# It clones the repository (default: the one it stands in), runs what a newcomer
# runs, and prints how long it took from `git clone` to the first prompt. Then
# it runs, in the clone, the tests of the first session with AWS's own
# programs, of the agent and of the console in a browser, and at last measures
# session start and echo time beside ssh to localhost.
#
# AWS's plugin and the stopwatch itself are built beforehand: people have the
# plugin already. What Go and npm have cached on this machine stays cached;
# with COLD=1 the build gets empty caches and pays for downloads too.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
repository=${1:-$here}

work=$(mktemp -d "${TMPDIR:-/tmp}/sekisho-first-XXXXXX")
server=
cleanup() {
  if [[ -n $server ]]; then
    kill -TERM "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
  fi
  chmod -R u+w "$work" 2>/dev/null || true # Go's module cache is read-only
  rm -rf "$work"
}
trap cleanup EXIT

say() { printf '\n== %s\n' "$*"; }
now() { date +%s.%N; }
since() { awk -v a="$1" -v b="$(now)" 'BEGIN { printf "%.1f s", b - a }'; }

say "beforehand: the plugin and the stopwatch"
"$here/scripts/setup" test
"$here/scripts/setup" bench
make -C "$here" --no-print-directory bin/test/session-manager-plugin
plugin=$here/bin/test/session-manager-plugin
(cd "$here/bench" && go build -o "$work/stopwatch" ./session)

say "clone, make run"
environment=()
if [[ ${COLD:-} == 1 ]]; then
  environment=(GOCACHE="$work/go-build" GOMODCACHE="$work/go-mod" npm_config_cache="$work/npm")
fi
began=$(now)
git clone -q "$repository" "$work/clone"
cd "$work/clone"
echo "cloned after $(since "$began")"
mkfifo "$work/out"
env "${environment[@]}" make --no-print-directory run DATA="$work/data" LISTEN=127.0.0.1:0 >"$work/out" 2>"$work/log" &
server=$!
exec 3<"$work/out" # held open: the server may print more
url=
while IFS= read -r line <&3; do
  printf '  %s\n' "$line"
  if [[ $line == "ready: "* ]]; then
    url=${line#ready: }
    break
  fi
done
if [[ -z $url ]]; then
  tail -n 40 "$work/log" >&2
  echo "make run ended before it was ready" >&2
  exit 1
fi
echo "ready after $(since "$began"), console at $url"
"$work/stopwatch" -first -env "$work/data/env" -bin bin -plugin "$plugin"
total=$(since "$began")
say "from git clone to the first prompt: $total"

kill -TERM "$server"
wait "$server" || true
server=

say "points 2 to 4 in the clone: the shell, the browser, the agent"
mkdir -p bin/test && cp -p "$plugin" bin/test/
touch bin/test/session-manager-plugin
make --no-print-directory e2e RUN='TestShell|TestAgent|TestUnprivilegedAgent|TestServerRestart|TestSessionIsKept'
make --no-print-directory browser

say "session start and echo time"
"$work/stopwatch" -bin bin -plugin "$plugin"

say "from git clone to the first prompt: $total"
