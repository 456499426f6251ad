# Executes the blocks of a page, in one shell and in the order of the page.
#
#   bash walk.bash WALK DIRECTORY
#
# DIRECTORY has the blocks as NUMBER-NAME.sh, where NAME is that of the section (package docs). WALK is sourced first
# and can define these functions:
#
#   setup          runs before the first block
#   rewrite        a filter from the block on the page to the commands that run here: other names, addresses and IDs
#   before_NAME    runs before the block
#   stdin_NAME     prints the standard input of the block
#   run_NAME       runs instead of the block, with its rewritten text as $1
#   after_NAME     checks what the block did; its output is in $out
#
# Everything runs with `set -e`: a command that fails ends the walk and fails the test.
set -Eeuo pipefail

walk=$1 blocks=$2
W=$(mktemp -d)
out=$W/out
block=setup
children=()

finish() {
  local code=$?
  trap - EXIT ERR
  if ((${#children[@]})); then kill -- "${children[@]}" 2>/dev/null || true; fi
  if declare -F cleanup >/dev/null; then cleanup || true; fi
  rm -rf "$W"
  exit "$code"
}
failed() {
  trap - ERR
  {
    echo "walk: failed in $block: $1"
    [[ ! -s $out ]] || { echo "walk: its output:" && cat "$out"; }
    [[ ! -s $W/started ]] || { echo "walk: what was started printed:" && tail -40 "$W/started"; }
  } >&"$log"
}
# The output of blocks goes to a file, where an error would not be seen.
exec {log}>&2
trap finish EXIT
trap 'failed "$BASH_COMMAND"' ERR

# background PATTERN COMMAND…: starts a command that does not end by itself, and waits until it prints a line that
# matches the pattern.
background() {
  local pattern=$1 line pipe
  shift
  pipe=$W/pipe.${#children[@]}
  mkfifo "$pipe"
  set -m # a process group of its own, so that the programs that it starts end with it
  "$@" </dev/null >"$pipe" 2>&1 &
  set +m
  children+=("-$!")
  exec {said}<"$pipe"
  while IFS= read -r -u "$said" line; do
    printf '%s\n' "$line"
    if [[ $line =~ $pattern ]]; then
      cat <&"$said" >/dev/null &
      children+=("$!")
      exec {said}<&-
      return 0
    fi
  done
  echo "walk: $* ended before it printed $pattern" >&2
  return 1
}

# start COMMAND…: starts a command that does not end by itself; its output is in $W/started.
start() {
  set -m
  "$@" </dev/null >>"$W/started" 2>&1 &
  set +m
  children+=("-$!")
}

# until_true COMMAND…: repeats the command until it succeeds, for at most 90 seconds.
until_true() {
  local end=$((SECONDS + 90))
  until "$@" >"$W/until" 2>&1; do
    if ((SECONDS > end)); then
      echo "walk: not within 90 seconds: $*" >&"$log"
      return 1
    fi
    read -r -t 0.2 <> <(:) || true
  done
}

# says PATTERN: the block's output has a line that matches.
says() {
  grep -Eq -- "$1" "$out" || {
    echo "walk: no line of the output of $block matches $1" >&2
    return 1
  }
}

# as_plugin makes sekisho the plugin of the aws command: unlike AWS's, it needs no terminal.
as_plugin() {
  mkdir -p "$W/plugin"
  ln -sf "$BIN/sekisho" "$W/plugin/session-manager-plugin"
  PATH=$W/plugin:$PATH
}

# ended SESSION: the session is in the history.
ended() {
  local status
  status=$(aws ssm describe-sessions --state History --filters "key=SessionId,value=$1" --query 'Sessions[0].Status' --output text)
  [[ $status == Terminated || $status == Failed ]]
}

# connected NODE: the node's agent is connected.
connected() {
  [[ $(aws ssm get-connection-status --target "$1" --query Status --output text) == connected ]]
}

rewrite() { cat; }
[[ -z ${SEKISHO_ENV:-} ]] || source "$SEKISHO_ENV"
source "$walk"
if declare -F setup >/dev/null; then setup; fi
for file in "$blocks"/*; do
  name=$(basename "$file")
  name=${name#*-}
  block=${name%.sh}
  echo "::: $block"
  : >"$out"
  case $name in
  *.sh) ;;
  *) # a block that the page calls a file
    rewrite <"$file" >"$name"
    continue
    ;;
  esac
  if declare -F "before_$block" >/dev/null; then "before_$block"; fi
  text=$(rewrite <"$file")
  input=/dev/null
  if declare -F "stdin_$block" >/dev/null; then
    input=$W/input
    "stdin_$block" >"$input"
  fi
  if declare -F "run_$block" >/dev/null; then
    "run_$block" "$text" <"$input" >"$out" 2>&1
  else
    eval "$text" <"$input" >"$out" 2>&1
  fi
  if declare -F "after_$block" >/dev/null; then "after_$block"; fi
  cat "$out"
done
block=end
echo "walk: ok"
