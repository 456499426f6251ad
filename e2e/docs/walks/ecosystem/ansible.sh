# server: own --nodes 0
# The node is an agent of its own in a mount namespace, where sudo changes nothing and curl trusts the server: the test
# gives nobody root on this machine.
setup() {
  if ((EUID != 0)); then
    echo "walk: skipped, a mount namespace needs root"
    exit 77
  fi
  # Debian's Ansible uses Debian's boto3.
  PATH=/usr/bin:$PATH
  export ANSIBLE_HOME=$HOME/.ansible ANSIBLE_LOCALHOST_WARNING=false ANSIBLE_RETRIES=0
  local activation
  activation=$(aws ssm create-activation --iam-role service-role/AmazonEC2RunCommandRoleForManagedInstances \
    --default-instance-name ansible --query '[ActivationId,ActivationCode]' --output text)
  node=$("$BIN/sekisho-agent" register --state "$W/agent" --endpoint "$AWS_ENDPOINT_URL" --region "$AWS_REGION" \
    --ca "$AWS_CA_BUNDLE" --activation-id "${activation%%$'\t'*}" --activation-code - <<<"${activation##*$'\t'}")
  mkdir "$W/local"
  printf '#!/bin/sh\nwhile [ "${1#-}" != "$1" ]; do shift; done\nexec "$@"\n' >"$W/local/sudo"
  chmod 711 "$W"
  chmod -R a+rx "$W/local"
  cat /etc/ssl/certs/ca-certificates.crt "$AWS_CA_BUNDLE" >"$W/authorities"
  chmod 644 "$W/authorities"
  start unshare --mount --propagation private sh -c '
    mount --bind "$1/local" /usr/local/bin && mount --bind "$1/authorities" /etc/ssl/certs/ca-certificates.crt &&
    exec "$2" run --state "$1/agent"' sh "$W" "$BIN/sekisho-agent"
  until_true connected "$node"
  echo welcome >motd
  far=$(mktemp -u /tmp/sekisho-motd-XXXXXX)
}
cleanup() { rm -f "$far"; }

rewrite() {
  sed -e "s|https://sekisho.example.com|$AWS_ENDPOINT_URL|; s|mi-0123456789abcdef0|$node|; s|us-east-1|$AWS_REGION|" \
    -e "s|/usr/local/bin/session-manager-plugin|$(command -v session-manager-plugin)|; s|dest=/tmp/motd|dest=$far|"
}
after_run() {
  says '"ping": "pong"'
  says "^$(uname -n)"
  [[ $(<"$far") == welcome ]]
}
