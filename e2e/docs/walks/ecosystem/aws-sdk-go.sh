# server: shared
rewrite() { sed "s/mi-0123456789abcdef0/$SEKISHO_TARGET/"; }
# The module tools/examples has what the program imports.
go() {
  [[ $1 == run ]]
  mkdir -p "$W/program"
  cp "$2" "$W/program"
  (cd "$REPOSITORY/tools/examples" && command go build -buildvcs=false -o "$W/program/run" "$W/program/main.go")
  "$W/program/run" "${@:3}"
}
after_aws_sdk_for_go_2() { says '^admin-'; }
