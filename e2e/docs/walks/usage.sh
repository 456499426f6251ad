# server: own
# The page shows the file of a day; the report of today exists as soon as it is defined.
rewrite() {
  sed "s|20261129-20261130/|$(date -u +%Y%m%d)-$(date -u -d tomorrow +%Y%m%d)/|; s|^aws s3 cp|until_true aws s3 ls s3://reports/usage/sessions/$(date -u +%Y%m%d)-$(date -u -d tomorrow +%Y%m%d)/; aws s3 cp|"
}
after_define_a_report() { says '^date,person,node,document'; }
