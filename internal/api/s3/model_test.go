package s3_test

import (
	"encoding/xml"
	"maps"
	"slices"
	"strings"
	"testing"

	"sekisho/internal/api/s3"
	"sekisho/internal/servertest/awsmodel"
)

// TestAnswersFitTheServiceModel checks a successful response of every
// operation against S3's service model.
func TestAnswersFitTheServiceModel(t *testing.T) {
	t.Parallel()
	m := awsmodel.Load(t, "s3")
	r := start(t)
	call := func(method, path, body string, header map[string]string) result {
		t.Helper()
		got := r.do(r.admin, method, path, body, header)
		name := r.trail.Last().EventName
		if got.status >= 300 {
			t.Fatalf("%s: %+v", name, got)
		}
		content := got.body
		if name == "GetObject" || name == "GetBucketPolicy" {
			content = "" // not XML
		}
		for _, problem := range m.Check(name, got.header, []byte(content)) {
			t.Errorf("%s: %s\n%s", name, problem, got.body)
		}
		return got
	}
	h := func(pairs ...string) map[string]string {
		m := map[string]string{}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i]] = pairs[i+1]
		}
		return m
	}
	call(
		"PUT",
		"/b-2",
		"<CreateBucketConfiguration><Tags><Tag><Key>k</Key><Value>v</Value></Tag></Tags></CreateBucketConfiguration>",
		nil,
	)
	call("HEAD", "/b-2", "", nil)
	call("GET", "/", "", nil)
	for sub, body := range map[string]string{
		"versioning": "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>",
		"encryption": "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>" +
			"AES256</SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>",
		"publicAccessBlock": "<PublicAccessBlockConfiguration><BlockPublicAcls>true</BlockPublicAcls>" +
			"</PublicAccessBlockConfiguration>",
		"ownershipControls": "<OwnershipControls><Rule><ObjectOwnership>BucketOwnerEnforced</ObjectOwnership></Rule>" +
			"</OwnershipControls>",
		"policy": `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*",` +
			`"Action":"s3:GetObject","Resource":"arn:aws:s3:::b-2/denied"}]}`,
		"tagging": "<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>",
		"lifecycle": "<LifecycleConfiguration><Rule><ID>x</ID><Filter><And><Prefix>p</Prefix><Tag><Key>a</Key><Value>b" +
			"</Value></Tag></And></Filter><Status>Enabled</Status>" +
			"<Expiration><Days>1</Days></Expiration><NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays>" +
			"</NoncurrentVersionExpiration></Rule>" +
			"<Rule><ID>y</ID><Filter><Prefix/></Filter><Status>Disabled</Status><AbortIncompleteMultipartUpload>" +
			"<DaysAfterInitiation>1</DaysAfterInitiation></AbortIncompleteMultipartUpload></Rule></LifecycleConfiguration>",
	} {
		call("PUT", "/b-2?"+sub, body, nil)
		call("GET", "/b-2?"+sub, "", nil)
	}
	for _, sub := range []string{"policyStatus", "acl", "location", "logging", "notification", "accelerate",
		"requestPayment"} {
		call("GET", "/b-2?"+sub, "", nil)
	}

	put := call("PUT", "/b-2/k", "content", h("X-Amz-Tagging", "a=b", "X-Amz-Checksum-Algorithm", "SHA256",
		"X-Amz-Meta-A", "b", "Content-Type", "text/plain"))
	version := put.header.Get("X-Amz-Version-Id")
	call("GET", "/b-2/k", "", h("X-Amz-Checksum-Mode", "ENABLED", "Range", "bytes=0-1"))
	call("HEAD", "/b-2/k", "", h("X-Amz-Checksum-Mode", "ENABLED"))
	call("GET", "/b-2/k?acl", "", nil)
	call("PUT", "/b-2/k?tagging", "<Tagging><TagSet><Tag><Key>c</Key><Value>d</Value></Tag></TagSet></Tagging>", nil)
	call("GET", "/b-2/k?tagging&versionId="+version, "", nil)
	call("PUT", "/b-2/copy", "", h("X-Amz-Copy-Source", "/b-2/k?versionId="+version))
	call("PUT", "/b-2/dir/k", "x", nil)

	upload := func(header map[string]string) string {
		t.Helper()
		var out struct {
			UploadID string `xml:"UploadId"`
		}
		if err := xml.Unmarshal([]byte(call("POST", "/b-2/mp?uploads", "", header).body), &out); err != nil {
			t.Fatal(err)
		}
		return out.UploadID
	}
	for _, header := range []map[string]string{nil, h("X-Amz-Checksum-Algorithm", "CRC32")} {
		id := upload(header)
		part := call("PUT", "/b-2/mp?partNumber=1&uploadId="+id, "hello", h("X-Amz-Checksum-Crc32", "NhCmhg=="))
		call("PUT", "/b-2/mp?partNumber=2&uploadId="+id, "", h("X-Amz-Copy-Source", "/b-2/k"))
		call("GET", "/b-2/mp?uploadId="+id, "", nil)
		call("GET", "/b-2?uploads&delimiter=/", "", nil)
		call("POST", "/b-2/mp?uploadId="+id,
			"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>"+part.header.Get("Etag")+
				"</ETag><ChecksumCRC32>NhCmhg==</ChecksumCRC32></Part></CompleteMultipartUpload>", nil)
		call("GET", "/b-2/mp?attributes", "", h("X-Amz-Object-Attributes",
			"ETag,Checksum,ObjectParts,StorageClass,ObjectSize"))
		call("DELETE", "/b-2/mp?uploadId="+upload(nil), "", nil)
	}
	for _, list := range []string{"?delimiter=/&encoding-type=url",
		"?list-type=2&delimiter=/&fetch-owner=true&max-keys=1", "?versions&delimiter=/"} {
		call("GET", "/b-2"+list, "", nil)
	}
	call("DELETE", "/b-2/k?tagging", "", nil)
	call("DELETE", "/b-2/k", "", nil)
	call("GET", "/b-2?versions", "", nil)
	call(
		"POST",
		"/b-2?delete",
		"<Delete><Object><Key>copy</Key></Object><Object><Key>k</Key><VersionId>"+version+"</VersionId></Object></Delete>",
		nil,
	)
	for _, sub := range []string{"encryption", "publicAccessBlock", "ownershipControls", "policy", "tagging",
		"lifecycle"} {
		call("DELETE", "/b-2?"+sub, "", nil)
	}
	call("PUT", "/b-3", "", nil)
	call("DELETE", "/b-3", "", nil)

	// These have no successful response.
	unset := []string{"GetBucketCors", "GetBucketReplication", "GetBucketWebsite", "GetObjectLockConfiguration"}
	left := m.Unchecked(slices.Compact(slices.Sorted(maps.Values(s3.Routes()))))
	if !slices.Equal(left, unset) {
		t.Errorf("no answer was checked of %s, want %s", strings.Join(left, ", "), strings.Join(unset, ", "))
	}
}
