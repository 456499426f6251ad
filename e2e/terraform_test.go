package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"sekisho/e2e/harness"
)

// sdk returns the configuration of AWS's SDK for Go for the shared server.
func sdk(t *testing.T) aws.Config {
	t.Helper()
	e := env(t, shared)
	client, err := harness.Client(e)
	if err != nil {
		t.Fatal(err)
	}
	return aws.Config{
		Region: e["AWS_REGION"], BaseEndpoint: aws.String(e["AWS_ENDPOINT_URL"]), HTTPClient: client,
		Credentials: credentials.NewStaticCredentialsProvider(e["AWS_ACCESS_KEY_ID"], e["AWS_SECRET_ACCESS_KEY"], ""),
	}
}

// provider makes the calls of the AWS provider of Terraform and OpenTofu: those that create a
// resource, read it back, change it and delete it (docs/ecosystem/terraform.md says what they were
// taken from). The provider ends an apply at an error that it does not expect.
type provider struct {
	t   *testing.T
	ctx context.Context
}

// call fails the test unless the error has one of the codes, or is nil and there are no codes.
func (p provider) call(operation string, err error, codes ...string) {
	p.t.Helper()
	api, ok := errors.AsType[smithy.APIError](err)
	switch {
	case err == nil && len(codes) == 0:
	case ok && slices.Contains(codes, api.ErrorCode()):
	default:
		p.t.Errorf("%s: %v, want one of %v", operation, err, codes)
	}
}

const trustEC2 = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},` +
	`"Action":"sts:AssumeRole"}]}`

func TestTerraformCalls(t *testing.T) {
	t.Parallel()
	cfg := sdk(t)
	// What the provider calls when it starts.
	who, err := sts.NewFromConfig(cfg).GetCallerIdentity(t.Context(), nil)
	if err != nil || aws.ToString(who.Account) == "" {
		t.Fatalf("GetCallerIdentity: %v, %v", who, err)
	}
	t.Run("aws_ssm_document", func(t *testing.T) {
		t.Parallel()
		terraformDocument(provider{t, t.Context()}, ssm.NewFromConfig(cfg))
	})
	t.Run("aws_ssm_activation", func(t *testing.T) {
		t.Parallel()
		terraformActivation(provider{t, t.Context()}, ssm.NewFromConfig(cfg))
	})
	t.Run("aws_iam", func(t *testing.T) {
		t.Parallel()
		terraformIAM(provider{t, t.Context()}, iam.NewFromConfig(cfg))
	})
	t.Run("aws_s3_bucket", func(t *testing.T) {
		t.Parallel()
		buckets := s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true })
		terraformBucket(provider{t, t.Context()}, buckets, cfg.Region)
	})
	t.Run("aws_cloudwatch_log_group", func(t *testing.T) {
		t.Parallel()
		terraformLogGroup(provider{t, t.Context()}, cloudwatchlogs.NewFromConfig(cfg))
	})
	t.Run("aws_kms_key", func(t *testing.T) {
		t.Parallel()
		terraformKey(provider{t, t.Context()}, kms.NewFromConfig(cfg))
	})
}

func terraformDocument(p provider, c *ssm.Client) {
	name := aws.String("Terraform-Session")
	content := func(minutes int) *string {
		return aws.String(fmt.Sprintf(
			`{"schemaVersion":"1.0","sessionType":"Standard_Stream","inputs":{"idleSessionTimeout":"%d"}}`, minutes))
	}
	tags := []ssmtypes.Tag{{Key: aws.String("Team"), Value: aws.String("ops")}}
	_, err := c.CreateDocument(p.ctx, &ssm.CreateDocumentInput{
		Name: name, Content: content(10), DocumentFormat: ssmtypes.DocumentFormatJson,
		DocumentType: ssmtypes.DocumentTypeSession, Tags: tags,
	})
	p.call("CreateDocument", err)
	read := func(want *string) *ssmtypes.DocumentDescription {
		p.t.Helper()
		d, err := c.DescribeDocument(p.ctx, &ssm.DescribeDocumentInput{Name: name})
		if err != nil || d.Document.Status != ssmtypes.DocumentStatusActive || len(d.Document.Tags) != 1 ||
			aws.ToString(d.Document.Hash) == "" || aws.ToString(d.Document.LatestVersion) == "" {
			p.t.Fatalf("DescribeDocument: %+v, %v", d, err)
		}
		got, err := c.GetDocument(p.ctx, &ssm.GetDocumentInput{
			Name: name, DocumentFormat: ssmtypes.DocumentFormatJson, DocumentVersion: aws.String("$LATEST"),
		})
		// Terraform plans a change endlessly unless the text comes back as it was sent.
		if err != nil || aws.ToString(got.Content) != *want {
			p.t.Errorf("GetDocument: %v, %v", got, err)
		}
		_, err = c.DescribeDocumentPermission(p.ctx, &ssm.DescribeDocumentPermissionInput{
			Name: name, PermissionType: ssmtypes.DocumentPermissionTypeShare,
		})
		p.call("DescribeDocumentPermission", err)
		return d.Document
	}
	d := read(content(10))
	update := func(text *string, codes ...string) *ssm.UpdateDocumentOutput {
		out, err := c.UpdateDocument(p.ctx, &ssm.UpdateDocumentInput{
			Name: name, Content: text, DocumentFormat: ssmtypes.DocumentFormatJson, DocumentVersion: d.DefaultVersion,
		})
		p.call("UpdateDocument", err, codes...)
		return out
	}
	update(content(10), "DuplicateDocumentContent")
	if out := update(content(20)); out != nil {
		_, err = c.UpdateDocumentDefaultVersion(p.ctx, &ssm.UpdateDocumentDefaultVersionInput{
			Name: name, DocumentVersion: out.DocumentDescription.DocumentVersion,
		})
		p.call("UpdateDocumentDefaultVersion", err)
	}
	d = read(content(20))
	_, err = c.AddTagsToResource(p.ctx, &ssm.AddTagsToResourceInput{
		ResourceType: ssmtypes.ResourceTypeForTaggingDocument, ResourceId: name, Tags: tags,
	})
	p.call("AddTagsToResource", err)
	_, err = c.ListTagsForResource(p.ctx, &ssm.ListTagsForResourceInput{
		ResourceType: ssmtypes.ResourceTypeForTaggingDocument, ResourceId: name,
	})
	p.call("ListTagsForResource", err)
	_, err = c.DeleteDocument(p.ctx, &ssm.DeleteDocumentInput{Name: name})
	p.call("DeleteDocument", err)
	_, err = c.DescribeDocument(p.ctx, &ssm.DescribeDocumentInput{Name: name})
	p.call("DescribeDocument after the end", err, "InvalidDocument")
}

func terraformActivation(p provider, c *ssm.Client) {
	// Without a name, the provider sends an empty one.
	out, err := c.CreateActivation(p.ctx, &ssm.CreateActivationInput{
		DefaultInstanceName: aws.String(""), IamRole: aws.String("service-role/AmazonEC2RunCommandRoleForManagedInstances"),
		RegistrationLimit: aws.Int32(5), Tags: []ssmtypes.Tag{{Key: aws.String("Team"), Value: aws.String("ops")}},
	})
	if err != nil {
		p.t.Fatal(err)
	}
	find := func() []ssmtypes.Activation {
		p.t.Helper()
		var all []ssmtypes.Activation
		pages := ssm.NewDescribeActivationsPaginator(c, &ssm.DescribeActivationsInput{
			Filters: []ssmtypes.DescribeActivationsFilter{{
				FilterKey:    ssmtypes.DescribeActivationsFilterKeysActivationIds,
				FilterValues: []string{aws.ToString(out.ActivationId)},
			}},
		})
		for pages.HasMorePages() {
			page, err := pages.NextPage(p.ctx)
			if err != nil {
				p.t.Fatal(err)
			}
			all = append(all, page.ActivationList...)
		}
		return all
	}
	if all := find(); len(all) != 1 || aws.ToInt32(all[0].RegistrationLimit) != 5 || len(all[0].Tags) != 1 ||
		all[0].Expired || all[0].ExpirationDate == nil {
		p.t.Errorf("DescribeActivations: %+v", all)
	}
	_, err = c.DeleteActivation(p.ctx, &ssm.DeleteActivationInput{ActivationId: out.ActivationId})
	p.call("DeleteActivation", err)
	if all := find(); len(all) != 0 {
		p.t.Errorf("DescribeActivations after the end: %+v", all)
	}
	_, err = c.DeleteActivation(p.ctx, &ssm.DeleteActivationInput{ActivationId: out.ActivationId})
	p.call("DeleteActivation again", err, "InvalidActivation")
}

func terraformIAM(p provider, c *iam.Client) {
	const document = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ssm:StartSession","Resource":"*"}]}`
	role, user, profile := aws.String("terraform-role"), aws.String("terraform-user"), aws.String("terraform-profile")
	tags := []iamtypes.Tag{{Key: aws.String("Team"), Value: aws.String("ops")}}

	_, err := c.CreateRole(p.ctx, &iam.CreateRoleInput{
		RoleName: role, Path: aws.String("/"), AssumeRolePolicyDocument: aws.String(trustEC2),
		MaxSessionDuration: aws.Int32(3600), Tags: tags,
	})
	p.call("CreateRole", err)
	read, err := c.GetRole(p.ctx, &iam.GetRoleInput{RoleName: role})
	if err != nil || len(read.Role.Tags) != 1 {
		p.t.Fatalf("GetRole: %+v, %v", read, err)
	}
	if trust, err := url.QueryUnescape(aws.ToString(read.Role.AssumeRolePolicyDocument)); err != nil || trust != trustEC2 {
		p.t.Errorf("the trust policy came back as %s, %v", trust, err)
	}
	_, err = c.PutRolePolicy(p.ctx, &iam.PutRolePolicyInput{
		RoleName: role, PolicyName: aws.String("inline"), PolicyDocument: aws.String(document),
	})
	p.call("PutRolePolicy", err)
	inline, err := c.ListRolePolicies(p.ctx, &iam.ListRolePoliciesInput{RoleName: role})
	if err != nil || !slices.Equal(inline.PolicyNames, []string{"inline"}) {
		p.t.Errorf("ListRolePolicies: %+v, %v", inline, err)
	}
	text, err := c.GetRolePolicy(p.ctx, &iam.GetRolePolicyInput{RoleName: role, PolicyName: aws.String("inline")})
	if err != nil {
		p.t.Fatal(err)
	}
	if got, err := url.QueryUnescape(aws.ToString(text.PolicyDocument)); err != nil || got != document {
		p.t.Errorf("the policy came back as %s, %v", got, err)
	}

	made, err := c.CreatePolicy(p.ctx, &iam.CreatePolicyInput{
		PolicyName: aws.String("terraform-policy"), Path: aws.String("/"), PolicyDocument: aws.String(document), Tags: tags,
	})
	if err != nil {
		p.t.Fatal(err)
	}
	arn := made.Policy.Arn
	found, err := c.GetPolicy(p.ctx, &iam.GetPolicyInput{PolicyArn: arn})
	if err != nil || len(found.Policy.Tags) != 1 {
		p.t.Fatalf("GetPolicy: %+v, %v", found, err)
	}
	_, err = c.GetPolicyVersion(p.ctx,
		&iam.GetPolicyVersionInput{PolicyArn: arn, VersionId: found.Policy.DefaultVersionId})
	p.call("GetPolicyVersion", err)
	_, err = c.ListPolicyVersions(p.ctx, &iam.ListPolicyVersionsInput{PolicyArn: arn})
	p.call("ListPolicyVersions", err)
	_, err = c.CreatePolicyVersion(p.ctx, &iam.CreatePolicyVersionInput{
		PolicyArn: arn, PolicyDocument: aws.String(strings.Replace(document, "Start", "Resume", 1)), SetAsDefault: true,
	})
	p.call("CreatePolicyVersion", err)
	_, err = c.AttachRolePolicy(p.ctx, &iam.AttachRolePolicyInput{RoleName: role, PolicyArn: arn})
	p.call("AttachRolePolicy", err)
	attached, err := c.ListAttachedRolePolicies(p.ctx, &iam.ListAttachedRolePoliciesInput{RoleName: role})
	if err != nil || len(attached.AttachedPolicies) != 1 {
		p.t.Errorf("ListAttachedRolePolicies: %+v, %v", attached, err)
	}

	_, err = c.CreateInstanceProfile(p.ctx, &iam.CreateInstanceProfileInput{
		InstanceProfileName: profile, Path: aws.String("/"), Tags: tags,
	})
	p.call("CreateInstanceProfile", err)
	_, err = c.AddRoleToInstanceProfile(p.ctx,
		&iam.AddRoleToInstanceProfileInput{InstanceProfileName: profile, RoleName: role})
	p.call("AddRoleToInstanceProfile", err)
	_, err = c.GetInstanceProfile(p.ctx, &iam.GetInstanceProfileInput{InstanceProfileName: profile})
	p.call("GetInstanceProfile", err)

	_, err = c.CreateUser(p.ctx, &iam.CreateUserInput{UserName: user, Path: aws.String("/"), Tags: tags})
	p.call("CreateUser", err)
	_, err = c.GetUser(p.ctx, &iam.GetUserInput{UserName: user})
	p.call("GetUser", err)
	_, err = c.AttachUserPolicy(p.ctx, &iam.AttachUserPolicyInput{UserName: user, PolicyArn: arn})
	p.call("AttachUserPolicy", err)
	key, err := c.CreateAccessKey(p.ctx, &iam.CreateAccessKeyInput{UserName: user})
	p.call("CreateAccessKey", err)
	_, err = c.ListAccessKeys(p.ctx, &iam.ListAccessKeysInput{UserName: user})
	p.call("ListAccessKeys", err)

	// Destroying, in the order of the dependencies.
	if key != nil {
		_, err = c.DeleteAccessKey(p.ctx, &iam.DeleteAccessKeyInput{UserName: user, AccessKeyId: key.AccessKey.AccessKeyId})
		p.call("DeleteAccessKey", err)
	}
	_, err = c.DetachUserPolicy(p.ctx, &iam.DetachUserPolicyInput{UserName: user, PolicyArn: arn})
	p.call("DetachUserPolicy", err)
	_, err = c.ListGroupsForUser(p.ctx, &iam.ListGroupsForUserInput{UserName: user})
	p.call("ListGroupsForUser", err)
	_, err = c.DeleteUser(p.ctx, &iam.DeleteUserInput{UserName: user})
	p.call("DeleteUser", err)
	profiles, err := c.ListInstanceProfilesForRole(p.ctx, &iam.ListInstanceProfilesForRoleInput{RoleName: role})
	if err != nil || len(profiles.InstanceProfiles) != 1 {
		p.t.Errorf("ListInstanceProfilesForRole: %+v, %v", profiles, err)
	}
	_, err = c.RemoveRoleFromInstanceProfile(p.ctx, &iam.RemoveRoleFromInstanceProfileInput{
		InstanceProfileName: profile, RoleName: role,
	})
	p.call("RemoveRoleFromInstanceProfile", err)
	_, err = c.DeleteInstanceProfile(p.ctx, &iam.DeleteInstanceProfileInput{InstanceProfileName: profile})
	p.call("DeleteInstanceProfile", err)
	_, err = c.DetachRolePolicy(p.ctx, &iam.DetachRolePolicyInput{RoleName: role, PolicyArn: arn})
	p.call("DetachRolePolicy", err)
	_, err = c.DeleteRolePolicy(p.ctx, &iam.DeleteRolePolicyInput{RoleName: role, PolicyName: aws.String("inline")})
	p.call("DeleteRolePolicy", err)
	_, err = c.DeleteRole(p.ctx, &iam.DeleteRoleInput{RoleName: role})
	p.call("DeleteRole", err)
	versions, err := c.ListPolicyVersions(p.ctx, &iam.ListPolicyVersionsInput{PolicyArn: arn})
	p.call("ListPolicyVersions", err)
	for _, v := range versions.Versions {
		if !v.IsDefaultVersion {
			_, err = c.DeletePolicyVersion(p.ctx, &iam.DeletePolicyVersionInput{PolicyArn: arn, VersionId: v.VersionId})
			p.call("DeletePolicyVersion", err)
		}
	}
	_, err = c.DeletePolicy(p.ctx, &iam.DeletePolicyInput{PolicyArn: arn})
	p.call("DeletePolicy", err)
	_, err = c.GetRole(p.ctx, &iam.GetRoleInput{RoleName: role})
	p.call("GetRole after the end", err, "NoSuchEntity")
}

func terraformBucket(p provider, c *s3.Client, region string) {
	b := aws.String(bucketName(p.t, "terraform"))
	in := &s3.CreateBucketInput{Bucket: b}
	if region != "us-east-1" {
		in.CreateBucketConfiguration = &s3types.CreateBucketConfiguration{
			LocationConstraint: s3types.BucketLocationConstraint(region),
		}
	}
	_, err := c.CreateBucket(p.ctx, in)
	p.call("CreateBucket", err)
	_, err = c.HeadBucket(p.ctx, &s3.HeadBucketInput{Bucket: b})
	p.call("HeadBucket", err)

	// The provider reads every property of a bucket, and takes only these errors for "not set".
	_, err = c.GetBucketPolicy(p.ctx, &s3.GetBucketPolicyInput{Bucket: b})
	p.call("GetBucketPolicy", err, "NoSuchBucketPolicy")
	acl, err := c.GetBucketAcl(p.ctx, &s3.GetBucketAclInput{Bucket: b})
	if err != nil || acl.Owner == nil {
		p.t.Errorf("GetBucketAcl: %+v, %v", acl, err)
	}
	_, err = c.GetBucketCors(p.ctx, &s3.GetBucketCorsInput{Bucket: b})
	p.call("GetBucketCors", err, "NoSuchCORSConfiguration", "MethodNotAllowed", "NotImplemented")
	_, err = c.GetBucketWebsite(p.ctx, &s3.GetBucketWebsiteInput{Bucket: b})
	p.call("GetBucketWebsite", err, "NoSuchWebsiteConfiguration", "MethodNotAllowed", "NotImplemented")
	_, err = c.GetBucketVersioning(p.ctx, &s3.GetBucketVersioningInput{Bucket: b})
	p.call("GetBucketVersioning", err)
	if _, err = c.GetBucketAccelerateConfiguration(p.ctx,
		&s3.GetBucketAccelerateConfigurationInput{Bucket: b}); err != nil {
		p.call("GetBucketAccelerateConfiguration", err, "MethodNotAllowed", "NotImplemented", "UnsupportedArgument")
	}
	if _, err = c.GetBucketRequestPayment(p.ctx, &s3.GetBucketRequestPaymentInput{Bucket: b}); err != nil {
		p.call("GetBucketRequestPayment", err, "MethodNotAllowed", "NotImplemented")
	}
	if _, err = c.GetBucketLogging(p.ctx, &s3.GetBucketLoggingInput{Bucket: b}); err != nil {
		p.call("GetBucketLogging", err, "MethodNotAllowed", "NotImplemented")
	}
	_, err = c.GetBucketLifecycleConfiguration(p.ctx, &s3.GetBucketLifecycleConfigurationInput{Bucket: b})
	p.call("GetBucketLifecycleConfiguration", err, "NoSuchLifecycleConfiguration")
	_, err = c.GetBucketReplication(p.ctx, &s3.GetBucketReplicationInput{Bucket: b})
	p.call("GetBucketReplication", err, "ReplicationConfigurationNotFoundError", "MethodNotAllowed", "NotImplemented")
	if _, err = c.GetBucketEncryption(p.ctx, &s3.GetBucketEncryptionInput{Bucket: b}); err != nil {
		p.call("GetBucketEncryption", err, "ServerSideEncryptionConfigurationNotFoundError")
	}
	_, err = c.GetObjectLockConfiguration(p.ctx, &s3.GetObjectLockConfigurationInput{Bucket: b})
	p.call("GetObjectLockConfiguration", err, "ObjectLockConfigurationNotFoundError", "MethodNotAllowed", "NotImplemented")
	if _, err = c.GetBucketTagging(p.ctx, &s3.GetBucketTaggingInput{Bucket: b}); err != nil {
		p.call("GetBucketTagging", err, "NoSuchTagSet")
	}
	location, err := c.GetBucketLocation(p.ctx, &s3.GetBucketLocationInput{Bucket: b})
	if err != nil || region != "us-east-1" && string(location.LocationConstraint) != region {
		p.t.Errorf("GetBucketLocation: %+v, %v", location, err)
	}

	// aws_s3_bucket_versioning, _server_side_encryption_configuration, _public_access_block and _policy.
	_, err = c.PutBucketVersioning(p.ctx, &s3.PutBucketVersioningInput{
		Bucket: b, VersioningConfiguration: &s3types.VersioningConfiguration{Status: s3types.BucketVersioningStatusEnabled},
	})
	p.call("PutBucketVersioning", err)
	versioning, err := c.GetBucketVersioning(p.ctx, &s3.GetBucketVersioningInput{Bucket: b})
	if err != nil || versioning.Status != s3types.BucketVersioningStatusEnabled {
		p.t.Errorf("GetBucketVersioning: %+v, %v", versioning, err)
	}
	_, err = c.PutBucketEncryption(p.ctx, &s3.PutBucketEncryptionInput{
		Bucket: b, ServerSideEncryptionConfiguration: &s3types.ServerSideEncryptionConfiguration{
			Rules: []s3types.ServerSideEncryptionRule{{
				ApplyServerSideEncryptionByDefault: &s3types.ServerSideEncryptionByDefault{
					SSEAlgorithm: s3types.ServerSideEncryptionAes256,
				},
			}},
		},
	})
	p.call("PutBucketEncryption", err)
	_, err = c.GetBucketEncryption(p.ctx, &s3.GetBucketEncryptionInput{Bucket: b})
	p.call("GetBucketEncryption", err)
	_, err = c.PutPublicAccessBlock(p.ctx, &s3.PutPublicAccessBlockInput{
		Bucket: b, PublicAccessBlockConfiguration: &s3types.PublicAccessBlockConfiguration{
			BlockPublicAcls: aws.Bool(true), BlockPublicPolicy: aws.Bool(true), IgnorePublicAcls: aws.Bool(true),
			RestrictPublicBuckets: aws.Bool(true),
		},
	})
	p.call("PutPublicAccessBlock", err)
	_, err = c.GetPublicAccessBlock(p.ctx, &s3.GetPublicAccessBlockInput{Bucket: b})
	p.call("GetPublicAccessBlock", err)
	policy := `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"s3:DeleteBucket",` +
		`"Resource":"arn:aws:s3:::` + *b + `","Condition":{"Bool":{"aws:SecureTransport":"false"}}}]}`
	_, err = c.PutBucketPolicy(p.ctx, &s3.PutBucketPolicyInput{Bucket: b, Policy: aws.String(policy)})
	p.call("PutBucketPolicy", err)
	got, err := c.GetBucketPolicy(p.ctx, &s3.GetBucketPolicyInput{Bucket: b})
	if err != nil || aws.ToString(got.Policy) != policy {
		p.t.Errorf("GetBucketPolicy: %+v, %v", got, err)
	}
	_, err = c.DeleteBucketPolicy(p.ctx, &s3.DeleteBucketPolicyInput{Bucket: b})
	p.call("DeleteBucketPolicy", err)
	_, err = c.DeletePublicAccessBlock(p.ctx, &s3.DeletePublicAccessBlockInput{Bucket: b})
	p.call("DeletePublicAccessBlock", err)
	_, err = c.DeleteBucketEncryption(p.ctx, &s3.DeleteBucketEncryptionInput{Bucket: b})
	p.call("DeleteBucketEncryption", err)
	_, err = c.DeleteBucket(p.ctx, &s3.DeleteBucketInput{Bucket: b})
	p.call("DeleteBucket", err)
	_, err = c.HeadBucket(p.ctx, &s3.HeadBucketInput{Bucket: b})
	p.call("HeadBucket after the end", err, "NotFound", "NoSuchBucket")
}

func terraformLogGroup(p provider, c *cloudwatchlogs.Client) {
	name := aws.String("/terraform/sessions")
	_, err := c.CreateLogGroup(p.ctx, &cloudwatchlogs.CreateLogGroupInput{
		LogGroupName: name, Tags: map[string]string{"Team": "ops"},
	})
	p.call("CreateLogGroup", err)
	_, err = c.PutRetentionPolicy(p.ctx, &cloudwatchlogs.PutRetentionPolicyInput{
		LogGroupName: name, RetentionInDays: aws.Int32(30),
	})
	p.call("PutRetentionPolicy", err)
	list, err := c.DescribeLogGroups(p.ctx, &cloudwatchlogs.DescribeLogGroupsInput{LogGroupNamePrefix: name})
	if err != nil || len(list.LogGroups) != 1 || aws.ToInt32(list.LogGroups[0].RetentionInDays) != 30 {
		p.t.Fatalf("DescribeLogGroups: %+v, %v", list, err)
	}
	arn := aws.String(strings.TrimSuffix(aws.ToString(list.LogGroups[0].Arn), ":*"))
	tags, err := c.ListTagsForResource(p.ctx, &cloudwatchlogs.ListTagsForResourceInput{ResourceArn: arn})
	if err != nil || tags.Tags["Team"] != "ops" {
		p.t.Errorf("ListTagsForResource: %+v, %v", tags, err)
	}
	environment := map[string]string{"Env": "prod"}
	_, err = c.TagResource(p.ctx, &cloudwatchlogs.TagResourceInput{ResourceArn: arn, Tags: environment})
	p.call("TagResource", err)
	_, err = c.UntagResource(p.ctx, &cloudwatchlogs.UntagResourceInput{ResourceArn: arn, TagKeys: []string{"Env"}})
	p.call("UntagResource", err)
	_, err = c.DeleteRetentionPolicy(p.ctx, &cloudwatchlogs.DeleteRetentionPolicyInput{LogGroupName: name})
	p.call("DeleteRetentionPolicy", err)
	_, err = c.DeleteLogGroup(p.ctx, &cloudwatchlogs.DeleteLogGroupInput{LogGroupName: name})
	p.call("DeleteLogGroup", err)
	_, err = c.DeleteLogGroup(p.ctx, &cloudwatchlogs.DeleteLogGroupInput{LogGroupName: name})
	p.call("DeleteLogGroup again", err, "ResourceNotFoundException")
}

func terraformKey(p provider, c *kms.Client) {
	made, err := c.CreateKey(p.ctx, &kms.CreateKeyInput{
		BypassPolicyLockoutSafetyCheck: false, KeySpec: kmstypes.KeySpecSymmetricDefault,
		KeyUsage: kmstypes.KeyUsageTypeEncryptDecrypt, Description: aws.String("sessions"),
		Tags: []kmstypes.Tag{{TagKey: aws.String("Team"), TagValue: aws.String("ops")}},
	})
	if err != nil {
		p.t.Fatal(err)
	}
	id := made.KeyMetadata.KeyId
	read := func() *kmstypes.KeyMetadata {
		p.t.Helper()
		d, err := c.DescribeKey(p.ctx, &kms.DescribeKeyInput{KeyId: id})
		if err != nil || d.KeyMetadata.Origin != kmstypes.OriginTypeAwsKms {
			p.t.Fatalf("DescribeKey: %+v, %v", d, err)
		}
		policy, err := c.GetKeyPolicy(p.ctx, &kms.GetKeyPolicyInput{KeyId: id, PolicyName: aws.String("default")})
		if err != nil || !strings.HasPrefix(strings.TrimSpace(aws.ToString(policy.Policy)), "{") {
			p.t.Errorf("GetKeyPolicy: %+v, %v", policy, err)
		}
		_, err = c.GetKeyRotationStatus(p.ctx, &kms.GetKeyRotationStatusInput{KeyId: id})
		p.call("GetKeyRotationStatus", err)
		tags, err := c.ListResourceTags(p.ctx, &kms.ListResourceTagsInput{KeyId: id})
		if err != nil || len(tags.Tags) != 1 {
			p.t.Errorf("ListResourceTags: %+v, %v", tags, err)
		}
		return d.KeyMetadata
	}
	read()
	_, err = c.UpdateKeyDescription(p.ctx, &kms.UpdateKeyDescriptionInput{KeyId: id, Description: aws.String("changed")})
	p.call("UpdateKeyDescription", err)
	if m := read(); aws.ToString(m.Description) != "changed" {
		p.t.Errorf("the description is %q", aws.ToString(m.Description))
	}
	alias := aws.String("alias/terraform")
	_, err = c.CreateAlias(p.ctx, &kms.CreateAliasInput{AliasName: alias, TargetKeyId: id})
	p.call("CreateAlias", err)
	found := false
	pages := kms.NewListAliasesPaginator(c, &kms.ListAliasesInput{})
	for pages.HasMorePages() {
		page, err := pages.NextPage(p.ctx)
		if err != nil {
			p.t.Fatal(err)
		}
		for _, a := range page.Aliases {
			found = found || aws.ToString(a.AliasName) == *alias && aws.ToString(a.TargetKeyId) == *id
		}
	}
	if !found {
		p.t.Error("ListAliases does not list the alias")
	}
	_, err = c.DeleteAlias(p.ctx, &kms.DeleteAliasInput{AliasName: alias})
	p.call("DeleteAlias", err)
	_, err = c.DisableKey(p.ctx, &kms.DisableKeyInput{KeyId: id})
	p.call("DisableKey", err)
	_, err = c.ScheduleKeyDeletion(p.ctx, &kms.ScheduleKeyDeletionInput{KeyId: id, PendingWindowInDays: aws.Int32(7)})
	p.call("ScheduleKeyDeletion", err)
	if m := read(); m.KeyState != kmstypes.KeyStatePendingDeletion {
		p.t.Errorf("the key is %s", m.KeyState)
	}
}

// TestPackerTunnel does what Packer's ssh_interface "session_manager" does: it starts a session for a
// port, and runs AWS's plugin with the answer, its own request, and the address of the stream as the
// endpoint.
func TestPackerTunnel(t *testing.T) {
	t.Parallel()
	e := env(t, shared)
	c := ssm.NewFromConfig(sdk(t))
	target := aws.String(e["SEKISHO_TARGET"])
	status, err := c.GetConnectionStatus(t.Context(), &ssm.GetConnectionStatusInput{Target: target})
	if err != nil || status.Status != ssmtypes.ConnectionStatusConnected {
		t.Fatalf("GetConnectionStatus: %+v, %v", status, err)
	}
	body := bytesOf(t, 300_000)
	local := freeAddresses(t, 1)[0]
	_, localPort, err := net.SplitHostPort(local)
	if err != nil {
		t.Fatal(err)
	}
	in := &ssm.StartSessionInput{
		DocumentName: aws.String("AWS-StartPortForwardingSession"), Target: target,
		Parameters: map[string][]string{"portNumber": {website(t, body)}, "localPortNumber": {localPort}},
	}
	session, err := c.StartSession(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := json.Marshal(map[string]any{
		"SessionId": session.SessionId, "StreamUrl": session.StreamUrl, "TokenValue": session.TokenValue,
	})
	if err != nil {
		t.Fatal(err)
	}
	request, err := json.Marshal(map[string]any{
		"DocumentName": in.DocumentName, "Target": target, "Parameters": in.Parameters,
	})
	if err != nil {
		t.Fatal(err)
	}
	cmd := shared.Shell(t.Context(), nil, `exec session-manager-plugin "$@"`, string(answer), e["AWS_REGION"],
		"StartSession", "", string(request), aws.ToString(session.StreamUrl))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	harness.Eventually(t, awhile, func() error { return get(http.DefaultClient, "http://"+local, body) })
	if _, err := c.TerminateSession(t.Context(), &ssm.TerminateSessionInput{SessionId: session.SessionId}); err != nil {
		t.Error(err)
	}
}
