package s3

import (
	"context"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"

	"sekisho"
	"sekisho/internal/iam/authz"
	"sekisho/internal/iam/policy"
	"sekisho/internal/storage/objects"
	"sekisho/internal/wire/awsproto"
)

// maxXML bounds a request body in XML. A DeleteObjects request with 1000 keys fits.
const maxXML = 2 << 20

var serviceOps = map[string]operation{
	"GET": {"ListBuckets", listBuckets},
}

var bucketOps = map[string]operation{
	"PUT":                      {"CreateBucket", createBucket},
	"HEAD":                     {"HeadBucket", headBucket},
	"DELETE":                   {"DeleteBucket", deleteBucket},
	"GET":                      {"ListObjects", listObjects},
	"GET list-type":            {"ListObjectsV2", listObjectsV2},
	"GET versions":             {"ListObjectVersions", listObjectVersions},
	"GET uploads":              {"ListMultipartUploads", listUploads},
	"POST delete":              {"DeleteObjects", deleteObjects},
	"GET location":             {"GetBucketLocation", getLocation},
	"GET versioning":           {"GetBucketVersioning", getVersioning},
	"PUT versioning":           {"PutBucketVersioning", putVersioning},
	"GET encryption":           {"GetBucketEncryption", getEncryption},
	"PUT encryption":           {"PutBucketEncryption", putEncryption},
	"DELETE encryption":        {"DeleteBucketEncryption", deleteEncryption},
	"GET publicAccessBlock":    {"GetPublicAccessBlock", getPublicAccess},
	"PUT publicAccessBlock":    {"PutPublicAccessBlock", putPublicAccess},
	"DELETE publicAccessBlock": {"DeletePublicAccessBlock", deletePublicAccess},
	"GET ownershipControls":    {"GetBucketOwnershipControls", getOwnership},
	"PUT ownershipControls":    {"PutBucketOwnershipControls", putOwnership},
	"DELETE ownershipControls": {"DeleteBucketOwnershipControls", deleteOwnership},
	"GET policy":               {"GetBucketPolicy", getPolicy},
	"PUT policy":               {"PutBucketPolicy", putPolicy},
	"DELETE policy":            {"DeleteBucketPolicy", deletePolicy},
	"GET policyStatus":         {"GetBucketPolicyStatus", getPolicyStatus},
	"GET tagging":              {"GetBucketTagging", getTagging},
	"PUT tagging":              {"PutBucketTagging", putTagging},
	"DELETE tagging":           {"DeleteBucketTagging", deleteTagging},
	"GET acl":                  {"GetBucketAcl", bucketACL},
	"GET lifecycle":            {"GetBucketLifecycleConfiguration", getLifecycle},
	"PUT lifecycle":            {"PutBucketLifecycleConfiguration", putLifecycle},
	"DELETE lifecycle":         {"DeleteBucketLifecycle", deleteLifecycle},
	// Configurations that cannot be set are reported as not set.
	"GET cors": {"GetBucketCors", unset("s3:GetBucketCORS", missing("NoSuchCORSConfiguration",
		"The CORS configuration does not exist"), nil)},
	"GET website": {"GetBucketWebsite", unset("s3:GetBucketWebsite", missing("NoSuchWebsiteConfiguration",
		"The specified bucket does not have a website configuration"), nil)},
	"GET replication": {"GetBucketReplication", unset("s3:GetReplicationConfiguration",
		missing("ReplicationConfigurationNotFoundError", "The replication configuration was not found"), nil)},
	"GET object-lock": {"GetObjectLockConfiguration", unset(
		"s3:GetBucketObjectLockConfiguration",
		missing(
			"ObjectLockConfigurationNotFoundError",
			"Object Lock configuration does not exist for this bucket",
		),
		nil,
	)},
	"GET logging": {"GetBucketLogging", unset("s3:GetBucketLogging", nil, empty("BucketLoggingStatus"))},
	"GET notification": {"GetBucketNotificationConfiguration", unset("s3:GetBucketNotification", nil,
		empty("NotificationConfiguration"))},
	"GET accelerate": {"GetBucketAccelerateConfiguration", unset("s3:GetAccelerateConfiguration", nil,
		empty("AccelerateConfiguration"))},
	"GET requestPayment": {"GetBucketRequestPayment", unset("s3:GetBucketRequestPayment", nil,
		payer{Xmlns: xmlns, Payer: "BucketOwner"})},
}

type payer struct {
	XMLName xml.Name `xml:"RequestPaymentConfiguration"`
	Xmlns   string   `xml:"xmlns,attr"`
	Payer   string
}

// element is an XML element with any name and optional text.
type element struct {
	XMLName xml.Name
	Xmlns   string `xml:"xmlns,attr"`
	Text    string `xml:",chardata"`
}

func empty(name string) element { return element{XMLName: xml.Name{Local: name}, Xmlns: xmlns} }

// unset returns the handler for a configuration that no bucket can have.
func unset(action string, e *awsproto.Error, v any) func(context.Context, *request) (answer, error) {
	return func(ctx context.Context, q *request) (answer, error) {
		if err := q.allow(ctx, action, objects.ARN(q.bucket)); err != nil {
			return answer{}, err
		}
		if e != nil {
			return answer{}, e
		}
		return answer{xml: v}, nil
	}
}

// readXML reads the body into v; an empty body leaves v as it is.
func (q *request) readXML(v any) error {
	b, err := q.readBody(maxXML)
	if err != nil || len(b) == 0 {
		return err
	}
	return parseXML(b, v)
}

// readXMLUnchecked is readXML for operations whose checksum headers are not about
// the body.
func (q *request) readXMLUnchecked(v any) error {
	b, err := io.ReadAll(io.LimitReader(q.Content(), maxXML+1))
	if err != nil {
		return bodyError(err)
	}
	if len(b) > maxXML {
		return fault("MaxMessageLengthExceeded", "Your request was too big.")
	}
	return parseXML(b, v)
}

func parseXML(b []byte, v any) error {
	if err := xml.Unmarshal(b, v); err != nil {
		return errMalformedXML
	}
	return nil
}

// readBody reads a small body and compares it with the size and checksums that the
// request states.
func (q *request) readBody(limit int64) ([]byte, error) {
	c, err := q.content()
	if err != nil {
		return nil, err
	}
	if c.Size > limit {
		return nil, fault("MaxMessageLengthExceeded", "Your request was too big.")
	}
	b, err := io.ReadAll(io.LimitReader(c.Body, limit+1))
	if err != nil {
		return nil, bodyError(err)
	}
	if int64(len(b)) > limit {
		return nil, fault("MaxMessageLengthExceeded", "Your request was too big.")
	}
	return b, check(c, b)
}

func listBuckets(ctx context.Context, q *request) (answer, error) {
	if err := q.allow(ctx, "s3:ListAllMyBuckets", "*"); err != nil {
		return answer{}, err
	}
	all, err := q.Objects.Buckets(ctx)
	if err != nil {
		return answer{}, err
	}
	type bucket struct {
		Name         string
		CreationDate isoTime
		BucketRegion string
	}
	out := struct {
		XMLName           xml.Name `xml:"ListAllMyBucketsResult"`
		Xmlns             string   `xml:"xmlns,attr"`
		Owner             *owner
		Buckets           []bucket `xml:"Buckets>Bucket"`
		ContinuationToken string   `xml:",omitempty"`
		Prefix            string   `xml:",omitempty"`
	}{Xmlns: xmlns, Owner: q.owner(), Prefix: q.query.Get("prefix")}
	limit, err := q.number("max-buckets", objects.MaxBuckets, 10000)
	if err != nil {
		return answer{}, err
	}
	after, err := readToken(q.query.Get("continuation-token"))
	if err != nil {
		return answer{}, err
	}
	for _, b := range all {
		if b.Name <= after || !hasPrefix(b.Name, out.Prefix) {
			continue
		}
		if len(out.Buckets) == limit {
			if limit > 0 {
				out.ContinuationToken = makeToken(out.Buckets[limit-1].Name)
			}
			break
		}
		out.Buckets = append(out.Buckets, bucket{b.Name, isoTime{b.CreatedAt}, q.Region})
	}
	return answer{xml: out}, nil
}

func hasPrefix(s, prefix string) bool { return len(s) >= len(prefix) && s[:len(prefix)] == prefix }

type tag struct{ Key, Value string }

type bucketConfiguration struct {
	LocationConstraint string
	Location           *struct{}
	Bucket             *struct{}
	Tags               []tag `xml:"Tags>Tag"`
}

// defaultRegion is the region that an empty location constraint means in S3.
const defaultRegion = "us-east-1"

var regionName = regexp.MustCompile(`^(EU|[a-z]{2,3}(-[a-z]+)+-[0-9]+)$`)

func createBucket(ctx context.Context, q *request) (answer, error) {
	if err := q.noACL("private"); err != nil {
		return answer{}, err
	}
	if q.header("X-Amz-Bucket-Object-Lock-Enabled") == "true" {
		return answer{}, notImplemented("Object Lock")
	}
	if o := q.header("X-Amz-Object-Ownership"); o != "" && o != ownerEnforced {
		return answer{}, notImplemented("object ownership " + clip(o))
	}
	var in bucketConfiguration
	if err := q.readXML(&in); err != nil {
		return answer{}, err
	}
	if in.Location != nil || in.Bucket != nil {
		return answer{}, notImplemented("directory buckets")
	}
	if err := q.may(ctx, q.config, "s3:CreateBucket", objects.ARN(q.bucket),
		authz.One("s3:LocationConstraint", in.LocationConstraint)); err != nil {
		return answer{}, err
	}
	switch l := in.LocationConstraint; {
	case l == "", l == q.Region && l != defaultRegion, l == "EU" && q.Region == "eu-west-1":
	case l == defaultRegion, !regionName.MatchString(l):
		return answer{}, &awsproto.Error{
			Code: "InvalidLocationConstraint", Message: "The specified location-constraint is not valid",
			Status: http.StatusBadRequest, Sender: true,
			Extra: map[string]string{"LocationConstraint": clip(l)},
		}
	default:
		return answer{}, fault(
			"IllegalLocationConstraintException",
			"The %s location constraint is incompatible for the region specific endpoint this request was sent to.",
			clip(l),
		)
	}
	tags, err := tagMap(in.Tags)
	if err != nil {
		return answer{}, err
	}
	if _, err := q.Objects.CreateBucket(ctx, q.bucket, tags); err != nil {
		return answer{}, err
	}
	q.w.Header().Set("Location", "/"+q.bucket)
	q.w.Header().Set("X-Amz-Bucket-Arn", objects.ARN(q.bucket))
	return answer{}, nil
}

func headBucket(ctx context.Context, q *request) (answer, error) {
	if err := q.allow(ctx, "s3:ListBucket", objects.ARN(q.bucket)); err != nil {
		return answer{}, err
	}
	q.w.Header().Set("X-Amz-Bucket-Arn", objects.ARN(q.bucket))
	q.w.Header().Set("X-Amz-Access-Point-Alias", "false")
	return answer{}, nil
}

func deleteBucket(ctx context.Context, q *request) (answer, error) {
	if err := q.allow(ctx, "s3:DeleteBucket", objects.ARN(q.bucket)); err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusNoContent}, q.Objects.DeleteBucket(ctx, q.bucket)
}

func getLocation(ctx context.Context, q *request) (answer, error) {
	if err := q.allow(ctx, "s3:GetBucketLocation", objects.ARN(q.bucket)); err != nil {
		return answer{}, err
	}
	out := empty("LocationConstraint")
	if q.Region != defaultRegion {
		out.Text = q.Region
	}
	return answer{xml: out}, nil
}

type versioning struct {
	XMLName   xml.Name `xml:"VersioningConfiguration"`
	Xmlns     string   `xml:"xmlns,attr"`
	Status    string   `xml:",omitempty"`
	MFADelete string   `xml:"MfaDelete,omitempty"`
}

func getVersioning(ctx context.Context, q *request) (answer, error) {
	if err := q.allow(ctx, "s3:GetBucketVersioning", objects.ARN(q.bucket)); err != nil {
		return answer{}, err
	}
	return answer{xml: versioning{Xmlns: xmlns, Status: string(q.config.Versioning)}}, nil
}

func putVersioning(ctx context.Context, q *request) (answer, error) {
	if err := q.allow(ctx, "s3:PutBucketVersioning", objects.ARN(q.bucket)); err != nil {
		return answer{}, err
	}
	var in struct {
		Status    string
		MFADelete string `xml:"MfaDelete"`
	}
	if err := q.readXML(&in); err != nil {
		return answer{}, err
	}
	if in.MFADelete == "Enabled" {
		return answer{}, notImplemented("MFA delete")
	}
	status := objects.Versioning(in.Status)
	if in.Status != "" && status != objects.VersioningEnabled && status != objects.VersioningSuspended {
		return answer{}, errMalformedXML
	}
	if in.Status == "" {
		return answer{}, fault("IllegalVersioningConfigurationException", "The Versioning element must be specified")
	}
	return answer{}, q.Objects.UpdateBucket(ctx, q.bucket, func(b *objects.Bucket) error {
		b.Versioning = status
		return nil
	})
}

type encryption struct {
	XMLName xml.Name         `xml:"ServerSideEncryptionConfiguration"`
	Xmlns   string           `xml:"xmlns,attr"`
	Rules   []encryptionRule `xml:"Rule"`
}

type encryptionRule struct {
	Default struct {
		SSEAlgorithm   string
		KMSMasterKeyID string `xml:",omitempty"`
	} `xml:"ApplyServerSideEncryptionByDefault"`
	BucketKeyEnabled bool
	Blocked          *struct {
		EncryptionType []string
	} `xml:"BlockedEncryptionTypes"`
}

func getEncryption(ctx context.Context, q *request) (answer, error) {
	if err := q.allow(ctx, "s3:GetEncryptionConfiguration", objects.ARN(q.bucket)); err != nil {
		return answer{}, err
	}
	rule := encryptionRule{BucketKeyEnabled: q.config.Settings.BucketKey}
	rule.Default.SSEAlgorithm = "AES256"
	return answer{xml: encryption{Xmlns: xmlns, Rules: []encryptionRule{rule}}}, nil
}

func putEncryption(ctx context.Context, q *request) (answer, error) {
	if err := q.allow(ctx, "s3:PutEncryptionConfiguration", objects.ARN(q.bucket)); err != nil {
		return answer{}, err
	}
	var in encryption
	if err := q.readXML(&in); err != nil {
		return answer{}, err
	}
	if len(in.Rules) != 1 {
		return answer{}, errMalformedXML
	}
	rule := in.Rules[0]
	switch {
	case rule.Default.SSEAlgorithm != "AES256" && rule.Default.SSEAlgorithm != "":
		return answer{}, notImplemented("default encryption other than AES256 (SSE-S3)")
	case rule.Default.KMSMasterKeyID != "":
		return answer{}, fault("InvalidArgument",
			"a KMSMasterKeyID is not applicable if the default sse algorithm is not aws:kms or aws:kms:dsse")
	}
	return answer{}, q.setBucketKey(ctx, rule.BucketKeyEnabled)
}

// deleteEncryption restores the default. Every bucket is encrypted.
func deleteEncryption(ctx context.Context, q *request) (answer, error) {
	if err := q.allow(ctx, "s3:PutEncryptionConfiguration", objects.ARN(q.bucket)); err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusNoContent}, q.setBucketKey(ctx, false)
}

func (q *request) setBucketKey(ctx context.Context, on bool) error {
	return q.Objects.UpdateBucket(ctx, q.bucket, func(b *objects.Bucket) error {
		b.Settings.BucketKey = on
		return nil
	})
}

type publicAccess struct {
	XMLName               xml.Name `xml:"PublicAccessBlockConfiguration"`
	Xmlns                 string   `xml:"xmlns,attr"`
	BlockPublicAcls       bool
	IgnorePublicAcls      bool
	BlockPublicPolicy     bool
	RestrictPublicBuckets bool
}

func getPublicAccess(ctx context.Context, q *request) (answer, error) {
	if err := q.allow(ctx, "s3:GetBucketPublicAccessBlock", objects.ARN(q.bucket)); err != nil {
		return answer{}, err
	}
	p := q.config.Settings.PublicAccess
	if p == nil {
		return answer{}, missing("NoSuchPublicAccessBlockConfiguration",
			"The public access block configuration was not found")
	}
	return answer{xml: publicAccess{
		Xmlns: xmlns, BlockPublicAcls: p.BlockACLs, IgnorePublicAcls: p.IgnoreACLs,
		BlockPublicPolicy: p.BlockPolicy, RestrictPublicBuckets: p.RestrictBuckets,
	}}, nil
}

func putPublicAccess(ctx context.Context, q *request) (answer, error) {
	if err := q.allow(ctx, "s3:PutBucketPublicAccessBlock", objects.ARN(q.bucket)); err != nil {
		return answer{}, err
	}
	var in publicAccess
	if err := q.readXML(&in); err != nil {
		return answer{}, err
	}
	return answer{}, q.Objects.UpdateBucket(ctx, q.bucket, func(b *objects.Bucket) error {
		b.Settings.PublicAccess = &objects.PublicAccess{
			BlockACLs: in.BlockPublicAcls, IgnoreACLs: in.IgnorePublicAcls, BlockPolicy: in.BlockPublicPolicy,
			RestrictBuckets: in.RestrictPublicBuckets,
		}
		return nil
	})
}

func deletePublicAccess(ctx context.Context, q *request) (answer, error) {
	if err := q.allow(ctx, "s3:PutBucketPublicAccessBlock", objects.ARN(q.bucket)); err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusNoContent}, q.Objects.UpdateBucket(ctx, q.bucket, func(b *objects.Bucket) error {
		b.Settings.PublicAccess = nil
		return nil
	})
}

const ownerEnforced = "BucketOwnerEnforced"

type ownership struct {
	XMLName xml.Name                           `xml:"OwnershipControls"`
	Xmlns   string                             `xml:"xmlns,attr"`
	Rules   []struct{ ObjectOwnership string } `xml:"Rule"`
}

func getOwnership(ctx context.Context, q *request) (answer, error) {
	if err := q.allow(ctx, "s3:GetBucketOwnershipControls", objects.ARN(q.bucket)); err != nil {
		return answer{}, err
	}
	if q.config.Settings.Ownership == "" {
		return answer{}, missing("OwnershipControlsNotFoundError", "The bucket ownership controls were not found")
	}
	return answer{xml: ownership{Xmlns: xmlns,
		Rules: []struct{ ObjectOwnership string }{{q.config.Settings.Ownership}}}}, nil
}

func putOwnership(ctx context.Context, q *request) (answer, error) {
	if err := q.allow(ctx, "s3:PutBucketOwnershipControls", objects.ARN(q.bucket)); err != nil {
		return answer{}, err
	}
	var in ownership
	if err := q.readXML(&in); err != nil {
		return answer{}, err
	}
	if len(in.Rules) != 1 {
		return answer{}, errMalformedXML
	}
	if in.Rules[0].ObjectOwnership != ownerEnforced {
		return answer{}, notImplemented("object ownership other than " + ownerEnforced)
	}
	return answer{}, q.setOwnership(ctx, ownerEnforced)
}

func deleteOwnership(ctx context.Context, q *request) (answer, error) {
	if err := q.allow(ctx, "s3:PutBucketOwnershipControls", objects.ARN(q.bucket)); err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusNoContent}, q.setOwnership(ctx, "")
}

func (q *request) setOwnership(ctx context.Context, o string) error {
	return q.Objects.UpdateBucket(ctx, q.bucket, func(b *objects.Bucket) error {
		b.Settings.Ownership = o
		return nil
	})
}

func getPolicy(ctx context.Context, q *request) (answer, error) {
	if err := q.allow(ctx, "s3:GetBucketPolicy", objects.ARN(q.bucket)); err != nil {
		return answer{}, err
	}
	if q.config.Settings.Policy == "" {
		return answer{}, missing("NoSuchBucketPolicy", "The bucket policy does not exist")
	}
	text, err := q.policy(ctx, q.config)
	if err != nil {
		return answer{}, err
	}
	return answer{body: func(w http.ResponseWriter) error {
		w.Header().Set("Content-Type", "application/json")
		_, err := io.WriteString(w, text)
		return err
	}}, nil
}

func putPolicy(ctx context.Context, q *request) (answer, error) {
	if err := q.allow(ctx, "s3:PutBucketPolicy", objects.ARN(q.bucket)); err != nil {
		return answer{}, err
	}
	text, err := q.readBody(objects.MaxPolicy)
	if err != nil {
		return answer{}, err
	}
	if err := policy.Validate(text, policy.KindResource); err != nil {
		if e, ok := errors.AsType[*policy.ValidationError](err); ok {
			return answer{}, fault("MalformedPolicy", "%s", e.Error())
		}
		return answer{}, err
	}
	if _, err := policy.Parse(text); err != nil {
		return answer{}, fault("MalformedPolicy", "%s", err.Error())
	}
	if err := policyFault(q.bucket, text); err != nil {
		return answer{}, err
	}
	names, err := q.Policies.ResourcePolicy(ctx, string(text))
	if err != nil {
		return answer{}, err
	}
	public := isPublic(text)
	return answer{status: http.StatusNoContent}, q.Objects.UpdateBucket(ctx, q.bucket, func(b *objects.Bucket) error {
		if p := b.Settings.PublicAccess; public && p != nil && p.BlockPolicy {
			return sekisho.Errorf(
				sekisho.CodeDenied,
				"User: %s is not authorized to perform: s3:PutBucketPolicy on resource: %q because public policies are "+
					"prevented by the BlockPublicPolicy setting in S3 Block Public Access.",
				q.Principal.ARN,
				objects.ARN(q.bucket),
			)
		}
		b.Settings.Policy, b.Settings.PolicyNames = string(text), names
		return nil
	})
}

func deletePolicy(ctx context.Context, q *request) (answer, error) {
	if err := q.allow(ctx, "s3:DeleteBucketPolicy", objects.ARN(q.bucket)); err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusNoContent}, q.Objects.UpdateBucket(ctx, q.bucket, func(b *objects.Bucket) error {
		b.Settings.Policy, b.Settings.PolicyNames = "", nil
		return nil
	})
}

func getPolicyStatus(ctx context.Context, q *request) (answer, error) {
	if err := q.allow(ctx, "s3:GetBucketPolicyStatus", objects.ARN(q.bucket)); err != nil {
		return answer{}, err
	}
	if q.config.Settings.Policy == "" {
		return answer{}, missing("NoSuchBucketPolicy", "The bucket policy does not exist")
	}
	return answer{xml: struct {
		XMLName  xml.Name `xml:"PolicyStatus"`
		Xmlns    string   `xml:"xmlns,attr"`
		IsPublic bool
	}{Xmlns: xmlns, IsPublic: isPublic([]byte(q.config.Settings.Policy))}}, nil
}

func getTagging(ctx context.Context, q *request) (answer, error) {
	if err := q.allow(ctx, "s3:GetBucketTagging", objects.ARN(q.bucket)); err != nil {
		return answer{}, err
	}
	if len(q.config.Settings.Tags) == 0 {
		return answer{}, missing("NoSuchTagSet", "The TagSet does not exist")
	}
	return answer{xml: tagging{Xmlns: xmlns, Tags: tagList(q.config.Settings.Tags)}}, nil
}

type tagging struct {
	XMLName xml.Name `xml:"Tagging"`
	Xmlns   string   `xml:"xmlns,attr"`
	Tags    []tag    `xml:"TagSet>Tag"`
}

func putTagging(ctx context.Context, q *request) (answer, error) {
	if err := q.allow(ctx, "s3:PutBucketTagging", objects.ARN(q.bucket)); err != nil {
		return answer{}, err
	}
	var in tagging
	if err := q.readXML(&in); err != nil {
		return answer{}, err
	}
	tags, err := tagMap(in.Tags)
	if err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusNoContent}, q.setTags(ctx, tags)
}

func deleteTagging(ctx context.Context, q *request) (answer, error) {
	if err := q.allow(ctx, "s3:PutBucketTagging", objects.ARN(q.bucket)); err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusNoContent}, q.setTags(ctx, nil)
}

func (q *request) setTags(ctx context.Context, tags map[string]string) error {
	return q.Objects.UpdateBucket(ctx, q.bucket, func(b *objects.Bucket) error {
		b.Settings.Tags = tags
		return nil
	})
}

type grant struct {
	Grantee struct {
		Xsi  string `xml:"xmlns:xsi,attr"`
		Type string `xml:"xsi:type,attr"`
		*owner
	}
	Permission string
}

func (q *request) ownerACL() any {
	g := grant{Permission: "FULL_CONTROL"}
	g.Grantee.Xsi, g.Grantee.Type, g.Grantee.owner = "http://www.w3.org/2001/XMLSchema-instance",
		"CanonicalUser", q.owner()
	return struct {
		XMLName xml.Name `xml:"AccessControlPolicy"`
		Xmlns   string   `xml:"xmlns,attr"`
		Owner   *owner
		Grants  []grant `xml:"AccessControlList>Grant"`
	}{Xmlns: xmlns, Owner: q.owner(), Grants: []grant{g}}
}

func bucketACL(ctx context.Context, q *request) (answer, error) {
	if err := q.allow(ctx, "s3:GetBucketAcl", objects.ARN(q.bucket)); err != nil {
		return answer{}, err
	}
	return answer{xml: q.ownerACL()}, nil
}

// noACL refuses access control lists, except those that only repeat the owner's
// rights: the bucket owner owns every object.
func (q *request) noACL(harmless string) error {
	for _, name := range []string{"Full-Control", "Read", "Read-Acp", "Write", "Write-Acp"} {
		if q.header("X-Amz-Grant-"+name) != "" {
			return fault("AccessControlListNotSupported", "The bucket does not allow ACLs")
		}
	}
	if acl := q.header("X-Amz-Acl"); acl != "" && acl != harmless {
		return fault("AccessControlListNotSupported", "The bucket does not allow ACLs")
	}
	return nil
}

const maxTags = 50

func tagMap(tags []tag) (map[string]string, error) {
	if len(tags) > maxTags {
		return nil, fault("BadRequest", "Bucket tag count cannot be greater than %d", maxTags)
	}
	var m map[string]string
	for _, t := range tags {
		if t.Key == "" || len([]rune(t.Key)) > 128 || len([]rune(t.Value)) > 256 || hasPrefix(t.Key, "aws:") {
			return nil, fault(
				"InvalidTag",
				"The tag %q is not valid: a key has 1 to 128 characters and does not begin with aws:, a value has up to 256.",
				clip(t.Key),
			)
		}
		if _, twice := m[t.Key]; twice {
			return nil, fault("InvalidTag", "Cannot provide multiple Tags with the same key")
		}
		if m == nil {
			m = map[string]string{}
		}
		m[t.Key] = t.Value
	}
	return m, nil
}

func makeToken(key string) string { return base64.RawURLEncoding.EncodeToString([]byte("1" + key)) }

func readToken(token string) (string, error) {
	if token == "" {
		return "", nil
	}
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(b) < 2 || len(b) > objects.MaxKey+2 || b[0] != '1' {
		return "", fault("InvalidArgument", "The continuation token provided is incorrect")
	}
	return string(b[1:]), nil
}

func tagList(m map[string]string) []tag {
	var out []tag
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, tag{k, m[k]})
	}
	return out
}
