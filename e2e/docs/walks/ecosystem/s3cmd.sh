# server: shared
setup() { echo 1,2 >report.csv; }
rewrite() {
  sed -e "s|sekisho.example.com|${AWS_ENDPOINT_URL#https://}|; s|us-east-1|$AWS_REGION|; s|/etc/sekisho/tls/ca.pem|$AWS_CA_BUNDLE|" \
    -e "s|^access_key.*|access_key = $AWS_ACCESS_KEY_ID|; s|^secret_key.*|secret_key = $AWS_SECRET_ACCESS_KEY|; s|//reports|//reports-$$|"
}
after_s3cmd_2() { says "s3://reports-$$/2026/report.csv"; }
