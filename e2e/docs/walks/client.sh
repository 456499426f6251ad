# server: own
setup() {
  node=$SEKISHO_TARGET
  aws ssm add-tags-to-resource --resource-type ManagedInstance --resource-id "$node" --tags Key=Hostname,Value=web-1
  aws iam create-user --user-name alice >/dev/null
  aws iam create-login-profile --user-name alice --password 'correct-horse-8-battery' >/dev/null
  aws iam attach-user-policy --user-name alice --policy-arn arn:aws:iam::aws:policy/AdministratorAccess
  endpoint=$AWS_ENDPOINT_URL
  # What a session's user can read and write.
  far=$(mktemp -d /tmp/sekisho-docs-XXXXXX)
  chmod 777 "$far"
  mkdir -p "$far/nginx" site ~/.ssh
  echo line >"$far/nginx/access.log"
  echo page >site/index.html
  echo notes >notes.txt
  printf 'all:\n\techo built\n' >"$far/Makefile"
}
cleanup() { rm -rf "$far"; }

rewrite() {
  sed -e "s|https://sekisho.example.com|$endpoint|g; s|/srv/www|$far/www|; s|/var/log/nginx|$far/nginx|; s|/var/log|$far/nginx|; s|cd /srv|cd $far|" \
    -e "s|-L 8080:localhost:80 -L 5432:db.internal:5432|-L 0:localhost:80 -L 0:db.internal:5432|; s|-D 1080|-D 0|" \
    -e "s|command=top|command=echo top|; s|cat > note|cat > $far/note|; s|/usr/local/bin|$W|" \
    -e "s|SESSION-ID|${session:-}|g; s|ARN|${owner:-}|; s|WHY|test|"
}

# A user who signs in has no access key.
before_signing_in() {
  key=$AWS_ACCESS_KEY_ID secret=$AWS_SECRET_ACCESS_KEY
  unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
}
stdin_signing_in() { echo 'correct-horse-8-battery'; }
after_signing_in() { says ':user/alice'; }
before_signing_in_4() { export AWS_CONFIG_FILE=$PWD/aws-config; }
after_signing_in_4() {
  says ':user/alice'
  unset AWS_CONFIG_FILE
  export AWS_ACCESS_KEY_ID=$key AWS_SECRET_ACCESS_KEY=$secret
}

# The comments of a block say how its commands end.
commands() {
  local line want code
  while IFS= read -r -u 3 line; do
    want=0
    if [[ $line =~ '# exit code '([0-9]+) ]]; then want=${BASH_REMATCH[1]}; fi
    code=0
    eval "$line" || code=$?
    if ((code != want)); then
      echo "walk: exit code $code, not $want: $line" >&2
      return 1
    fi
  done 3<<<"$1"
}
run_shells_and_commands() { commands "$1" < <(echo exit); }
run_shells_and_commands_2() { commands "$1"; }
after_shells_and_commands() { grep -q text "$far/note"; }
after_shells_and_commands_2() { says '^echo built|^built'; }

run_ports() {
  local line
  while IFS= read -r -u 3 line; do
    eval "background '^Listening on' ${line%%#*}"
  done 3<<<"$1"
}

after_files() {
  [[ $(<"$far/www/index.html") == page && $(<logs/access.log) == line ]]
}

after_ssh_scp_rsync_editors() { grep -q "^Host .*web-1" ~/.ssh/sekisho.conf; }

stdin_as_the_plugin_of_the_aws_command() { :; }
after_as_the_plugin_of_the_aws_command() {
  PATH=$W:$PATH
  echo 'echo a shell; exit' | aws ssm start-session --target "$node" >"$out" 2>&1
  says '^Starting session with SessionId: '
}

before_recordings() {
  owner=$(aws sts get-caller-identity --query Arn --output text)
  mkfifo "$W/typed"
  sekisho start-session web-1 <"$W/typed" >"$W/shell" 2>&1 &
  children+=("$!")
  exec 7>"$W/typed"
  echo 'echo recorded' >&7
  until_true grep -q recorded "$W/shell"
  session=$(aws ssm describe-sessions --state Active --query 'Sessions[0].SessionId' --output text)
  cat "${SEKISHO_ENV%/env}"/recordings/keys/*.pem >keys.pem
}
run_recordings() {
  local line
  while IFS= read -r -u 3 line; do
    eval "$line"
    if [[ $line == *terminate* ]]; then until_true ended "$session"; fi
  done 3<<<"$1"
}
after_recordings() {
  says 'recorded'
  [[ -s bundle.zip ]]
}
