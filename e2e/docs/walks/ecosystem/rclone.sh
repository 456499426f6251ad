# server: shared
setup() { mkdir site && echo page >site/index.html; authority=$AWS_CA_BUNDLE; }
rewrite() {
  sed "s|https://sekisho.example.com|$AWS_ENDPOINT_URL|; s|us-east-1|$AWS_REGION|; s|/etc/sekisho/tls/ca.pem|$authority|; s|sekisho:backup|sekisho:backup-$$|"
}
after_rclone_2() { says '^site/index.html$'; }
