# server: own
setup() {
  endpoint=$AWS_ENDPOINT_URL authority=$AWS_CA_BUNDLE data=${SEKISHO_ENV%/env}
  mkdir safe
}

# The configuration file of the page is not that of this server: the commands get its data directory.
sekishod() {
  case $1 in
  backup) command sekishod "$@" --data "$data" ;;
  *) command sekishod "$@" ;;
  esac
}
age-keygen() { (cd "$REPOSITORY" && go run filippo.io/age/cmd/age-keygen "$1" "$OLDPWD/$2"); }
sekisho-agent() { command sekisho-agent "$@" --state "$W/agent"; }
systemctl() {
  [[ $* == "enable --now sekisho-agent" ]]
  start "$BIN/sekisho-agent" run --state "$W/agent"
}

rewrite() {
  sed -e "s|https://sekisho.example.com|$endpoint|; s|/etc/sekisho/tls/ca.pem|$authority|g; s|--ca ca.pem|--ca $authority|" \
    -e "s|mi-0123456789abcdef0|$SEKISHO_TARGET|g; s|--activation-id ID|--activation-id '${activation:-}'|; s|<<< CODE|<<< '${code:-}'|" \
    -e "s|2026-11-30|$(date +%F)|g; s|age1\.\.\.|${recipient:-\$(sed -n 's/^# public key: //p' backup.key)}|" \
    -e "s|--data /var/lib/sekisho|--data $W/restored.$RANDOM|; s|/var/lib/sekisho|$data|; s|/mnt/safe|safe|"
}

before_configure_aws_s_programs() { as_plugin; }
stdin_configure_aws_s_programs() { echo 'echo a shell; exit'; }
after_configure_aws_s_programs() { says '^Starting session with SessionId: '; }

after_register_a_machine() {
  activation=$(python3 -c 'import json, sys; print(json.load(sys.stdin)["ActivationId"])' <"$out")
  code=$(python3 -c 'import json, sys; print(json.load(sys.stdin)["ActivationCode"])' <"$out")
}
after_register_a_machine_2() { until_true eval 'sekisho nodes | grep -q web-1'; }

after_back_up() {
  says '^Restored '
  recipient=$(sed -n 's/^# public key: //p' backup.key)
}
before_back_up_2() { rm sekisho-*.backup; }
after_back_up_2() { says '^Restored '; }
