# server: own
# A second server has a configuration file, as `sekishod doctor` needs; it does not run, which doctor reports.
setup() {
  aws iam create-user --user-name alice >/dev/null
  sekishod setup --yes --name 127.0.0.1 --listen 127.0.0.1:0 --config "$W/etc/sekishod.yaml" --data "$W/state" \
    --agents-dir "$BIN" --user '' >/dev/null
}
sekishod() {
  case $1 in
  doctor) command sekishod "$@" || [[ $? == 1 ]] ;;
  *) command sekishod "$@" ;;
  esac
}
rewrite() {
  sed -e "s|/etc/sekisho/sekishod.yaml|$W/etc/sekishod.yaml|; s|/etc/sekisho/tls/ca.pem|$AWS_CA_BUNDLE|" \
    -e "s|https://sekisho.example.com|$AWS_ENDPOINT_URL|; s|mi-0123456789abcdef0|$SEKISHO_TARGET|; s|sekisho why .*|& \|\| [[ \$? == 3 ]]|"
}
after_access() { says '^no: '; }
after_nodes() { says "$SEKISHO_TARGET"; }
