# server: own
setup() {
  account=$(aws sts get-caller-identity --query Account --output text)
  aws iam create-user --user-name alice >/dev/null
}
totp() {
  python3 - "$1" <<'PYTHON'
import base64, hmac, struct, sys, time
seed = open("qr.png").read().strip()
digest = hmac.new(base64.b32decode(seed + "=" * (-len(seed) % 8)), struct.pack(">Q", int(time.time() + int(sys.argv[1])) // 30), "sha1").digest()
at = digest[-1] & 15
print("%06d" % ((struct.unpack(">I", digest[at:at + 4])[0] & 0x7FFFFFFF) % 1000000))
PYTHON
}
sekishod() { command sekishod "${@/#--config/--data}"; }
rewrite() {
  sed -e "s/100000000000/$account/; s/QRCodePNG/Base32StringSeed/; s|/etc/sekisho/sekishod.yaml|${SEKISHO_ENV%/env}|" \
    -e 's/--authentication-code1 123456 --authentication-code2 654321/--authentication-code1 "$(totp -30)" --authentication-code2 "$(totp 0)"/'
}
