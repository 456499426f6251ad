package servertest_test

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"sekisho/internal/api"
	"sekisho/internal/servertest"
	"sekisho/internal/servertest/awsmodel"
)

// modelled calls operations of a door and checks every response against the
// door's service model.
type modelled struct {
	*servertest.Server
	t     *testing.T
	door  *api.Door
	model *awsmodel.Model
}

func newModelled(t *testing.T, s *servertest.Server, service string) *modelled {
	t.Helper()
	i := slices.IndexFunc(s.Doors(), func(d *api.Door) bool { return d.Service == service })
	return &modelled{s, t, s.Doors()[i], awsmodel.Load(t, service)}
}

// call makes a call that must succeed.
func (m *modelled) call(operation string, in any) servertest.Answer {
	m.t.Helper()
	a := m.JSON(m.Admin, m.door.Service, operation, in)
	if a.Status != http.StatusOK {
		m.t.Fatalf("%s: %d %s", operation, a.Status, a.Body)
	}
	m.check(operation, a)
	return a
}

func (m *modelled) check(operation string, a servertest.Answer) {
	m.t.Helper()
	for _, problem := range m.model.Check(operation, a.Header, []byte(a.Body)) {
		if slices.ContainsFunc(
			additions[operation],
			func(member string) bool { return strings.HasSuffix(problem, "unknown member "+member) },
		) {
			continue
		}
		m.t.Errorf("%s: %s\n%s", operation, problem, a.Body)
	}
}

// complete checks that a response of every operation was checked.
func (m *modelled) complete() {
	m.t.Helper()
	if left := m.model.Unchecked(slices.Sorted(maps.Keys(m.door.Operations))); len(left) > 0 {
		m.t.Errorf("no answer was checked of %s", strings.Join(left, ", "))
	}
}

func TestLogsAnswersFitTheServiceModel(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	m := newModelled(t, s, "logs")
	const group, stream = "/app", "stream"
	arn := "arn:aws:logs:" + servertest.Region + ":" + servertest.Account + ":log-group:" + group
	key := "arn:aws:kms:" + servertest.Region + ":" + servertest.Account + ":key/00000000-0000-4000-8000-000000000000"
	on := func(more fields) fields {
		all := fields{"logGroupName": group}
		maps.Copy(all, more)
		return all
	}
	m.call("CreateLogGroup", on(fields{"tags": fields{"a": "b"}}))
	m.call("CreateLogGroup", fields{"logGroupName": "other"})
	m.call("PutRetentionPolicy", on(fields{"retentionInDays": 7}))
	m.call("AssociateKmsKey", on(fields{"kmsKeyId": key}))
	m.call("DescribeLogGroups", fields{"limit": 1})
	m.call("ListLogGroups", fields{"limit": 1})
	m.call("CreateLogStream", on(fields{"logStreamName": stream}))
	m.call("DescribeLogStreams", on(nil))
	now := time.Now().UnixMilli()
	events := []fields{{"timestamp": 1, "message": "too old"}, {"timestamp": now, "message": "x"}}
	m.call("PutLogEvents", on(fields{"logStreamName": stream, "logEvents": events[1:]}))
	m.call(
		"PutLogEvents",
		on(fields{"logStreamName": stream, "logEvents": []fields{{"timestamp": 1, "message": "too old"}}}),
	)
	m.call("DescribeLogStreams", on(fields{"orderBy": "LastEventTime"}))
	m.call("GetLogEvents", on(fields{"logStreamName": stream}))
	m.call("FilterLogEvents", on(fields{"limit": 1}))
	m.call("TagResource", fields{"resourceArn": arn, "tags": fields{"c": "d"}})
	m.call("TagLogGroup", on(fields{"tags": fields{"e": "f"}}))
	m.call("ListTagsForResource", fields{"resourceArn": arn})
	m.call("ListTagsLogGroup", on(nil))
	m.call("UntagResource", fields{"resourceArn": arn, "tagKeys": []string{"c"}})
	m.call("UntagLogGroup", on(fields{"tags": []string{"e"}}))
	m.call("DisassociateKmsKey", on(nil))
	m.call("DeleteRetentionPolicy", on(nil))
	m.call("DeleteLogStream", on(fields{"logStreamName": stream}))
	m.call("DeleteLogGroup", on(nil))
	m.complete()
}

func TestKMSAnswersFitTheServiceModel(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	m := newModelled(t, s, "kms")
	var made struct {
		KeyMetadata struct {
			KeyID string `json:"KeyId"`
		}
	}
	m.call("CreateKey", fields{"Description": "d", "Tags": []fields{{"TagKey": "a", "TagValue": "b"}}}).Decode(t, &made)
	m.call("CreateKey", fields{})
	id := made.KeyMetadata.KeyID
	on := func(more fields) fields {
		all := fields{"KeyId": id}
		maps.Copy(all, more)
		return all
	}
	alias := fields{"AliasName": "alias/a", "TargetKeyId": id}
	m.call("CreateAlias", alias)
	m.call("UpdateAlias", alias)
	m.call("ListAliases", fields{"Limit": 1})
	m.call("DescribeKey", fields{"KeyId": "alias/a"})
	m.call("ListKeys", fields{"Limit": 1})
	m.call("UpdateKeyDescription", on(fields{"Description": "e"}))
	m.call("EnableKeyRotation", on(fields{"RotationPeriodInDays": 90}))
	m.call("GetKeyRotationStatus", on(nil))
	m.call("DisableKeyRotation", on(nil))
	m.call("GetKeyRotationStatus", on(nil))
	m.call("GetKeyPolicy", on(fields{"PolicyName": "default"}))
	var policy struct{ Policy string }
	m.call("GetKeyPolicy", on(nil)).Decode(t, &policy)
	m.call("PutKeyPolicy", on(fields{"Policy": policy.Policy}))
	m.call("ListKeyPolicies", on(nil))
	m.call("TagResource", on(fields{"Tags": []fields{{"TagKey": "c", "TagValue": "d"}}}))
	m.call("ListResourceTags", on(nil))
	m.call("UntagResource", on(fields{"TagKeys": []string{"c"}}))
	var sealed struct{ CiphertextBlob string }
	m.call("Encrypt", on(fields{"Plaintext": "eA=="})).Decode(t, &sealed)
	m.call("Decrypt", fields{"CiphertextBlob": sealed.CiphertextBlob})
	m.call("ReEncrypt", fields{"CiphertextBlob": sealed.CiphertextBlob, "DestinationKeyId": id})
	m.call("GenerateDataKey", on(fields{"KeySpec": "AES_256"}))
	m.call("GenerateDataKeyWithoutPlaintext", on(fields{"NumberOfBytes": 8}))
	m.call("GenerateRandom", fields{"NumberOfBytes": 8})
	admin := "arn:aws:iam::" + servertest.Account + ":user/admin"
	for _, end := range []string{"RetireGrant", "RevokeGrant"} {
		var grant struct {
			GrantID string `json:"GrantId"`
		}
		m.call("CreateGrant", on(fields{
			"GranteePrincipal": admin, "RetiringPrincipal": admin, "Operations": []string{"Decrypt"}, "Name": "n",
			"Constraints": fields{"EncryptionContextSubset": fields{"a": "b"}},
		})).Decode(t, &grant)
		m.call("ListGrants", on(fields{"Limit": 1}))
		m.call("ListRetirableGrants", fields{"RetiringPrincipal": admin})
		m.call(end, on(fields{"GrantId": grant.GrantID}))
	}
	m.call("DisableKey", on(nil))
	m.call("DescribeKey", on(nil))
	m.call("EnableKey", on(nil))
	m.call("DeleteAlias", fields{"AliasName": "alias/a"})
	m.call("ScheduleKeyDeletion", on(fields{"PendingWindowInDays": 7}))
	m.call("DescribeKey", on(nil))
	m.call("CancelKeyDeletion", on(nil))
	m.complete()
}

// TestAnswersToTheMatrixFitTheServiceModels calls every operation of the other
// doors as the administrator, with the inputs of the matrix. Successful
// responses must conform to the model. The doors' own tests cover the other
// operations.
func TestAnswersToTheMatrixFitTheServiceModels(t *testing.T) {
	t.Parallel()
	for _, service := range []string{"ssm", "iam", "sts", "ec2", "cloudtrail"} {
		t.Run(service, func(t *testing.T) {
			t.Parallel()
			s := servertest.Start(t)
			n := s.Node()
			m := newModelled(t, s, service)
			w := &words{node: n.ID}
			w.makeKey(t, s)
			checked := 0
			for _, op := range slices.Sorted(maps.Keys(m.door.Operations)) {
				if !m.door.Operations[op].ReadOnly || !m.model.Has(op) {
					continue
				}
				if a := call(t, s, m.door, op, s.Admin, w); a.Status == http.StatusOK {
					m.check(op, a)
					checked++
				}
			}
			if checked == 0 {
				t.Error("no answer was checked")
			}
		})
	}
}

// additions are members that Sekisho adds to AWS's responses. Clients of AWS
// ignore them; our console and command line read them.
var additions = map[string][]string{
	"DescribeInstanceInformation": {"ConnectionStatus", "NotConnectedReason", "SourceIp", "State"},
	"DescribeInstanceProperties":  {"ConnectionStatus", "NotConnectedReason", "SourceIp", "State", "IsLatestVersion"},
	"DescribeSessions":            {"LogNotDelivered"},
}
