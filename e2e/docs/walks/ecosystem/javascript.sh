# server: shared
setup() { ln -s "$REPOSITORY/e2e/javascript/node_modules" node_modules; }
rewrite() { sed "s/mi-0123456789abcdef0/$SEKISHO_TARGET/"; }
after_aws_sdk_for_javascript_2() { says '^admin-'; }
