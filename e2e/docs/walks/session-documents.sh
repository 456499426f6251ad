# server: own
setup() {
  for version in 1 2; do
    printf '{"schemaVersion":"1.0","sessionType":"Standard_Stream","inputs":{"idleSessionTimeout":"%s"}}' "$version" >"$W/$version"
  done
  aws ssm create-document --document-type Session --name MyDocument --content "file://$W/1" >/dev/null
  aws ssm update-document --name MyDocument --document-version '$LATEST' --content "file://$W/2" >/dev/null
}
after_session_documents_and_preferences_2() {
  [[ $(aws ssm describe-document --name MyDocument --query Document.DefaultVersion --output text) == 2 ]]
}
