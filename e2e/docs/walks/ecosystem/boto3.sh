# server: shared
# The first python3 with boto3, Debian's or another.
setup() {
  for python in python3 /usr/bin/python3; do
    if command "$python" -c 'import boto3' 2>/dev/null; then break; fi
  done
}
python3() { command "$python" "$@"; }
after_boto3_2() { says "$SEKISHO_TARGET Online"; }
