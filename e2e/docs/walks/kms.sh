# server: own
setup() {
  account=$(aws sts get-caller-identity --query Account --output text)
  aws iam create-role --role-name backup --assume-role-policy-document \
    '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}}' >/dev/null
}
rewrite() { sed "s|--key-id KEY|--key-id '${key:-}'|; s|ACCOUNT|$account|"; }
