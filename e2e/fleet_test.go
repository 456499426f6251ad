package e2e_test

import (
	"path/filepath"
	"strings"
	"testing"

	"sekisho/e2e/harness"
)

// TestFleet lists and counts nodes, reads inventories and changes service
// settings with the AWS SDK for Python: its paginators end, and its exceptions
// have AWS's names.
func TestFleet(t *testing.T) {
	t.Parallel()
	const script = `
import os, boto3
ssm = boto3.client("ssm", endpoint_url=os.environ["AWS_ENDPOINT_URL"], region_name=os.environ["AWS_REGION"])
target = os.environ["SEKISHO_TARGET"]

def all(operation, key, **args):
    return [x for page in ssm.get_paginator(operation).paginate(**args) for x in page[key]]

def refused(error, call, **args):
    try:
        call(**args)
    except error:
        return
    raise AssertionError(f"{call} was not refused as {error}")

nodes = all("list_nodes", "Nodes", PaginationConfig={"PageSize": 1}, Filters=[{"Key": "InstanceId", "Values": [target]}])
assert [n["Id"] for n in nodes] == [target] and nodes[0]["NodeType"]["Instance"]["PlatformType"] == "Linux", nodes
count = all("list_nodes_summary", "Summary", Aggregators=[{"AggregatorType": "Count", "TypeName": "Instance", "AttributeName": "PlatformType"}])
assert count == [{"Count": str(len(all("list_nodes", "Nodes"))), "PlatformType": "Linux"}], count
refused(ssm.exceptions.InvalidFilter, ssm.get_inventory, Filters=[{"Key": "Foo", "Values": ["x"]}])

found = all("get_inventory", "Entities", PaginationConfig={"PageSize": 1}, Filters=[{"Key": "AWS:InstanceInformation.InstanceId", "Values": [target]}])
assert len(found) == 1 and found[0]["Data"]["AWS:InstanceInformation"]["Content"][0]["InstanceId"] == target, found
types = [s["TypeName"] for s in all("get_inventory_schema", "Schemas")]
assert "AWS:Application" in types and "AWS:Network" in types, types
refused(ssm.exceptions.InvalidTypeNameException, ssm.list_inventory_entries, InstanceId=target, TypeName="AWS:Nonsense")

tier = ssm.get_service_setting(SettingId="/ssm/managed-instance/activation-tier")["ServiceSetting"]
assert tier["SettingValue"] == "advanced" and tier["Status"] == "Default", tier
refused(ssm.exceptions.ServiceSettingNotFound, ssm.get_service_setting, SettingId="/ssm/nonsense")
role = "/ssm/managed-instance/default-ec2-instance-management-role"
ssm.update_service_setting(SettingId=role, SettingValue="service-role/AmazonEC2RunCommandRoleForManagedInstances")
changed = ssm.get_service_setting(SettingId=role)["ServiceSetting"]
assert changed["Status"] == "Customized" and changed["LastModifiedDate"].year > 2000 and changed["ARN"].endswith(role), changed
back = ssm.reset_service_setting(SettingId=role)["ServiceSetting"]
assert back["SettingValue"] == "$None", back
print("all", "well")
`
	s := ownServer(t)
	r := harness.Do(t, s.Shell(t.Context(), nil, `exec "$1" -c "$2"`, pythonWithBoto3(t), script))
	if r.Code != 0 || !strings.Contains(r.Stdout, "all well") {
		t.Errorf("exit %d: %s%s", r.Code, r.Stdout, r.Stderr)
	}

	// The inventory of our agent, as the aws CLI shows it.
	r = harness.Do(t, s.Shell(t.Context(), nil, `set -eu
bin=$1 state=$2
set -- $(aws ssm create-activation --iam-role service-role/AmazonEC2RunCommandRoleForManagedInstances --query '[ActivationCode,ActivationId]' --output text)
node=$("$bin/sekisho-agent" register --state "$state" --endpoint "$AWS_ENDPOINT_URL" --region "$AWS_REGION" --activation-id "$2" --activation-code "$1" --ca "$SSL_CERT_FILE")
"$bin/sekisho-agent" run --state "$state" --inventory 1m >"$state/log" 2>&1 &
agent=$!
trap 'status=$?; kill $agent; wait $agent || :; [ $status = 0 ] || cat "$state/log"; exit $status' EXIT
of() { aws ssm list-inventory-entries --instance-id "$node" --type-name "$1" --query "$2" --output text; }
last=AWS:Network version=1.0
[ ! -s /var/lib/dpkg/status ] || last=AWS:Application version=1.1
n=0
until [ "$(of $last SchemaVersion)" = $version ]; do
	n=$((n+1))
	[ $n -lt 200 ] || exit 9
	sleep 0.3
done
[ "$(of AWS:Network SchemaVersion)" = 1.0 ]
! grep "DATA RACE" "$state/log"
echo all well`, s.Bin, filepath.Join(t.TempDir(), "state")))
	if r.Code != 0 || !strings.Contains(r.Stdout, "all well") {
		t.Errorf("exit %d: %s%s", r.Code, r.Stdout, r.Stderr)
	}
}
