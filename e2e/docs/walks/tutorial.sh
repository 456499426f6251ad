# server: none
# The clock cannot be that of the page, so the window is one around now. The metadata service listens on a free port of
# the loopback interface, because its real address would be that of the whole machine.
sekishod() { background '^ready: ' "$BIN/sekishod" "$@" --listen 127.0.0.1:0; }

sekisho-agent() {
  local command=$1
  shift
  if [[ $command == run ]]; then
    start "$BIN/sekisho-agent" run --state "$W/agent" "$@"
  else
    command sekisho-agent "$command" --state "$W/agent" "$@"
  fi
}

# totp SECONDS: the code that an authenticator with the seed in qr.png shows, or showed.
totp() {
  python3 - "$1" <<'PYTHON'
import base64, hmac, struct, sys, time
seed = open("qr.png").read().strip()
digest = hmac.new(base64.b32decode(seed + "=" * (-len(seed) % 8)), struct.pack(">Q", int(time.time() + int(sys.argv[1])) // 30), "sha1").digest()
at = digest[-1] & 15
print("%06d" % ((struct.unpack(">I", digest[at:at + 4])[0] & 0x7FFFFFFF) % 1000000))
PYTHON
}

rewrite() {
  sed -e 's/QRCodePNG/Base32StringSeed/' \
    -e 's/--authentication-code1 123456 --authentication-code2 654321/--authentication-code1 "$(totp -30)" --authentication-code2 "$(totp 0)"/' \
    -e "s/--activation-id ID --activation-code CODE/--activation-id '${activation:-}' --activation-code '${code:-}'/" \
    -e 's/--imds 169.254.169.254:80 --imds-v1 --imds-add-address/--imds 127.0.0.1:0 --imds-v1/' \
    -e "s/2020-04-15T00:00:00+00:00/$(date -u -d '-1 hour' +%FT%TZ)/; s/2020-04-15T04:00:00+00:00/$(date -u -d '+3 hours' +%FT%TZ)/" \
    -e "s/SESSION-ID/${session:-}/g; s/--version-id VERSION/--version-id '${version:-}'/"
}

after_3_a_machine() {
  activation=$(python3 -c 'import json, sys; print(json.load(sys.stdin)["ActivationId"])' <"$out")
  code=$(python3 -c 'import json, sys; print(json.load(sys.stdin)["ActivationCode"])' <"$out")
}
after_3_a_machine_2() { until_true connected i-01234567890abcdef; }

after_5_quick_setup() { says 'gave i-01234567890abcdef the role AmazonSSMRoleForInstancesQuickSetup'; }
after_8_permissions_of_alice_3() { says '^yes: '; }

before_9_a_session() {
  as_plugin
  administrator=$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY
}
stdin_9_a_session() { printf 'echo in the""log; exit\n'; }
after_9_a_session() {
  says '^Starting session with SessionId: alice-'
  session=$(sed -n 's/^Starting session with SessionId: //p' "$out")
  AWS_ACCESS_KEY_ID=${administrator%%:*} AWS_SECRET_ACCESS_KEY=${administrator#*:}
}

before_10_the_log() { until_true aws s3api head-object --bucket session-logs --key "sessions/$session.log"; }
after_10_the_log() { says 'in thelog'; }

after_11_why_versions() {
  version=$(aws s3api list-object-versions --bucket session-logs --prefix sessions/ \
    --query 'Versions[?!IsLatest].VersionId' --output text)
}
after_11_why_versions_2() {
  grep -q 'in thelog' old.log
}
