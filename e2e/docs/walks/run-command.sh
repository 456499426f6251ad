# server: own
setup() {
  aws ssm add-tags-to-resource --resource-type ManagedInstance --resource-id "$SEKISHO_TARGET" --tags Key=role,Value=web
  aws s3api create-bucket --bucket scripts >/dev/null
  printf '#!/bin/sh\necho "$@"\n' >script.sh
  aws s3 cp --quiet script.sh s3://scripts/script.sh
}
rewrite() {
  sed "s/mi-0123456789abcdef0/$SEKISHO_TARGET/g; s|SERVER/BUCKET|${AWS_ENDPOINT_URL#https://}/scripts|; s/systemctl restart nginx/sleep 60/"
}
after_run_command() { says '"Status": "Success"|load average'; }
