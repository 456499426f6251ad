# server: shared
setup() {
  # The first version of the CLI has no `aws logs tail`.
  if [[ -x /usr/bin/aws ]]; then
    mkdir "$W/bin"
    ln -s /usr/bin/aws "$W/bin/aws"
    PATH=$W/bin:$PATH
  fi
}
rewrite() {
  sed -e "s/session-logs/session-logs-$$/g; s|/sessions|/sessions-$$|" \
    -e "/put-bucket-versioning/a echo a log | aws s3 cp - s3://session-logs-$$/prefix/alice-0123456789abcdef0.log"
}
after_buckets_and_log_groups() { says '^a log'; }
