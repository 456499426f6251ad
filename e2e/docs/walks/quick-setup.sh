# server: own
setup() {
  aws ssm add-tags-to-resource --resource-type ManagedInstance --resource-id "$SEKISHO_TARGET" --tags Key=Env,Value=prod
}
rewrite() { sed "s|NODE|$SEKISHO_TARGET|; s|SUM|$(printf '0%.0s' {1..64})|"; }
after_quick_setup() { says '/install/agent.sh'; }
after_aws_s_agent() { says 'packages.example.com/amazon-ssm-agent.deb'; }
