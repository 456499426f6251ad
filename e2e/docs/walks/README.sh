# server: none
# The first block starts the programs as `make run` does, except that it chooses a free port and folder, and does not
# run the tests inside the tests.
run_sekisho() {
  local data=$PWD/.sekisho
  background '^ready: ' make --no-print-directory -C "$REPOSITORY" run DATA="$data" LISTEN=127.0.0.1:0
  grep -q '^test:' "$REPOSITORY/Makefile"
}

before_sekisho_2() { as_plugin; }
stdin_sekisho_2() { printf 'echo re""played; exit\n'; }
after_sekisho_2() {
  says '^Starting session with SessionId: admin-'
  session=$(sed -n 's/^Starting session with SessionId: //p' "$out")
}

rewrite() { sed "s/admin-44ybv2jbsntz75n3ex7eexs6vi/${session:-}/"; }
before_sekisho_4() { until_true ended "$session"; }
after_sekisho_4() { says replayed; }
