# server: shared
rewrite() { sed "s/mi-0123456789abcdef0/$SEKISHO_TARGET/g; s/,localPortNumber=8080//"; }
before_sessions() { as_plugin; }
stdin_sessions() { echo 'echo a shell; exit'; }
after_sessions() { says '^Starting session with SessionId: '; }
run_ports() {
  aws() { command aws --endpoint-url "$AWS_ENDPOINT_URL" "$@"; }
  eval "background '^Waiting for connections' $1"
}
