package iam_test

import (
	"bytes"
	"fmt"
	"image/png"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/google/go-cmp/cmp"
	"github.com/pquerna/otp/totp"

	"sekisho/internal/iam/identity"
	"sekisho/internal/servertest/doortest"
)

func must[T any](t *testing.T) func(T, error) T {
	t.Helper()
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func allow(action, resource string) *string {
	return aws.String(
		fmt.Sprintf(
			`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":%q,"Resource":%q}]}`,
			action,
			resource,
		),
	)
}

const userARN = "arn:aws:iam::" + doortest.Account + ":user"

// person creates a user with a key and an inline policy.
func person(t *testing.T, s *doortest.Server, name string, document *string) *awsiam.Client {
	t.Helper()
	ctx := t.Context()
	admin := s.IAM(s.Admin)
	must[*awsiam.CreateUserOutput](t)(admin.CreateUser(ctx, &awsiam.CreateUserInput{UserName: &name}))
	if document != nil {
		must[*awsiam.PutUserPolicyOutput](
			t,
		)(
			admin.PutUserPolicy(
				ctx,
				&awsiam.PutUserPolicyInput{UserName: &name, PolicyName: aws.String("p"), PolicyDocument: document},
			),
		)
	}
	k := must[*awsiam.CreateAccessKeyOutput](
		t,
	)(
		admin.CreateAccessKey(ctx, &awsiam.CreateAccessKeyInput{UserName: &name}),
	).AccessKey
	return s.IAM(aws.Credentials{AccessKeyID: *k.AccessKeyId, SecretAccessKey: *k.SecretAccessKey})
}

func TestUserLifecycle(t *testing.T) {
	t.Parallel()
	s := doortest.Start(t, nil)
	ctx := t.Context()
	c := s.IAM(s.Admin)
	alice := aws.String("alice")
	made := must[*awsiam.CreateUserOutput](t)(c.CreateUser(ctx, &awsiam.CreateUserInput{
		UserName: alice, Path: aws.String("/team/"), Tags: []types.Tag{{Key: aws.String("Team"), Value: aws.String("blue")}},
	})).User
	if *made.Arn != userARN+"/team/alice" || len(*made.UserId) != 21 || !strings.HasPrefix(*made.UserId, "AIDA") {
		t.Errorf("made %s %s", *made.Arn, *made.UserId)
	}
	got := must[*awsiam.GetUserOutput](t)(c.GetUser(ctx, &awsiam.GetUserInput{UserName: alice})).User
	if !got.CreateDate.Equal(*made.CreateDate) || len(got.Tags) != 1 || *got.Tags[0].Value != "blue" {
		t.Errorf("got %+v", got)
	}
	if self := must[*awsiam.GetUserOutput](t)(c.GetUser(ctx, &awsiam.GetUserInput{})).User; *self.UserName != "admin" {
		t.Errorf("GetUser without a name is %s", *self.UserName)
	}
	_, err := c.CreateUser(ctx, &awsiam.CreateUserInput{UserName: aws.String("Alice")})
	doortest.WantError(t, err, "EntityAlreadyExists", 409, "User with name Alice already exists.")
	_, err = c.GetUser(ctx, &awsiam.GetUserInput{UserName: aws.String("nobody")})
	doortest.WantError(t, err, "NoSuchEntity", 404, "The user with name nobody cannot be found.")
	_, err = c.CreateUser(ctx, &awsiam.CreateUserInput{UserName: aws.String("no/slash")})
	doortest.WantError(t, err, "ValidationError", 400, "userName is invalid")

	// Any document is returned exactly as it was sent.
	doc := aws.String(
		"{\"Version\":\"2012-10-17\",\n " +
			"\"Statement\":[{\"Effect\":\"Allow\",\"Action\":\"ssm:*\",\"Resource\":\"*\"," +
			"\"Condition\":{\"StringEquals\":{\"aws:username\":\"a+b%20c é&<>\"}}}]}",
	)
	must[*awsiam.PutUserPolicyOutput](
		t,
	)(
		c.PutUserPolicy(
			ctx,
			&awsiam.PutUserPolicyInput{UserName: alice, PolicyName: aws.String("p"), PolicyDocument: doc},
		),
	)
	text := must[*awsiam.GetUserPolicyOutput](
		t,
	)(
		c.GetUserPolicy(ctx, &awsiam.GetUserPolicyInput{UserName: alice, PolicyName: aws.String("p")}),
	).PolicyDocument
	if back, err := url.PathUnescape(*text); err != nil || back != *doc {
		t.Errorf("the document came back as %s (%v)", back, err)
	}
	_, err = c.GetUserPolicy(ctx, &awsiam.GetUserPolicyInput{UserName: alice, PolicyName: aws.String("q")})
	doortest.WantError(t, err, "NoSuchEntity", 404, "The user policy with name q cannot be found.")
	_, err = c.PutUserPolicy(
		ctx,
		&awsiam.PutUserPolicyInput{
			UserName:       alice,
			PolicyName:     aws.String("q"),
			PolicyDocument: aws.String(`{"Version":"2012-10-17"}`),
		},
	)
	doortest.WantError(t, err, "MalformedPolicyDocument", 400, "Syntax errors in policy.")
	_, err = c.PutUserPolicy(
		ctx,
		&awsiam.PutUserPolicyInput{
			UserName:       alice,
			PolicyName:     aws.String("q"),
			PolicyDocument: allow("ssm:"+strings.Repeat("a", 2048), "*"),
		},
	)
	doortest.WantError(t, err, "LimitExceeded", 409, "Maximum policy size of 2048 bytes exceeded for user alice")
	if names := must[*awsiam.ListUserPoliciesOutput](t)(
		c.ListUserPolicies(ctx, &awsiam.ListUserPoliciesInput{UserName: alice})).PolicyNames; cmp.Diff(
		[]string{"p"},
		names,
	) != "" {
		t.Errorf("policies = %v", names)
	}

	var keys []string
	for range 2 {
		k := must[*awsiam.CreateAccessKeyOutput](
			t,
		)(
			c.CreateAccessKey(ctx, &awsiam.CreateAccessKeyInput{UserName: alice}),
		).AccessKey
		if len(*k.AccessKeyId) != 20 || !strings.HasPrefix(*k.AccessKeyId, "AKIA") || len(*k.SecretAccessKey) != 40 ||
			k.Status != types.StatusTypeActive {
			t.Errorf("key %s, secret of %d, %s", *k.AccessKeyId, len(*k.SecretAccessKey), k.Status)
		}
		keys = append(keys, *k.AccessKeyId)
		if e := fmt.Sprintf("%+v", s.Trail.Last()); strings.Contains(e, *k.SecretAccessKey) {
			t.Error("the audit event holds the secret")
		}
	}
	_, err = c.CreateAccessKey(ctx, &awsiam.CreateAccessKeyInput{UserName: alice})
	doortest.WantError(t, err, "LimitExceeded", 409, "Cannot exceed quota for AccessKeysPerUser: 2")
	must[*awsiam.UpdateAccessKeyOutput](
		t,
	)(
		c.UpdateAccessKey(
			ctx,
			&awsiam.UpdateAccessKeyInput{UserName: alice, AccessKeyId: &keys[0], Status: types.StatusTypeInactive},
		),
	)
	for _, k := range must[*awsiam.ListAccessKeysOutput](t)(
		c.ListAccessKeys(ctx, &awsiam.ListAccessKeysInput{UserName: alice})).AccessKeyMetadata {
		if inactive := k.Status == types.StatusTypeInactive; inactive != (*k.AccessKeyId == keys[0]) {
			t.Errorf("key %s is %s", *k.AccessKeyId, k.Status)
		}
	}

	password := aws.String("Correct-Horse-1")
	_, err = c.CreateLoginProfile(ctx, &awsiam.CreateLoginProfileInput{UserName: alice, Password: aws.String("weak")})
	doortest.WantError(t, err, "PasswordPolicyViolation", 400, "Password does not conform")
	must[*awsiam.CreateLoginProfileOutput](
		t,
	)(
		c.CreateLoginProfile(
			ctx,
			&awsiam.CreateLoginProfileInput{UserName: alice, Password: password, PasswordResetRequired: true},
		),
	)
	_, err = c.CreateLoginProfile(ctx, &awsiam.CreateLoginProfileInput{UserName: alice, Password: password})
	doortest.WantError(t, err, "EntityAlreadyExists", 409, "Login Profile for user alice already exists.")
	must[*awsiam.UpdateLoginProfileOutput](
		t,
	)(
		c.UpdateLoginProfile(
			ctx,
			&awsiam.UpdateLoginProfileInput{UserName: alice, PasswordResetRequired: aws.Bool(false)},
		),
	)
	if l := must[*awsiam.GetLoginProfileOutput](t)(c.GetLoginProfile(ctx,
		&awsiam.GetLoginProfileInput{UserName: alice})).LoginProfile; l.PasswordResetRequired {
		t.Error("the password must still be changed")
	}

	for _, want := range []string{"access keys", "policies", "login profile"} {
		_, err := c.DeleteUser(ctx, &awsiam.DeleteUserInput{UserName: alice})
		doortest.WantError(t, err, "DeleteConflict", 409, want)
		switch want {
		case "access keys":
			for _, k := range keys {
				must[*awsiam.DeleteAccessKeyOutput](
					t,
				)(
					c.DeleteAccessKey(ctx, &awsiam.DeleteAccessKeyInput{UserName: alice, AccessKeyId: &k}),
				)
			}
		case "policies":
			must[*awsiam.DeleteUserPolicyOutput](
				t,
			)(
				c.DeleteUserPolicy(ctx, &awsiam.DeleteUserPolicyInput{UserName: alice, PolicyName: aws.String("p")}),
			)
		case "login profile":
			must[*awsiam.DeleteLoginProfileOutput](
				t,
			)(
				c.DeleteLoginProfile(ctx, &awsiam.DeleteLoginProfileInput{UserName: alice}),
			)
		}
	}
	must[*awsiam.DeleteUserOutput](t)(c.DeleteUser(ctx, &awsiam.DeleteUserInput{UserName: alice}))
	_, err = c.DeleteUser(ctx, &awsiam.DeleteUserInput{UserName: alice})
	doortest.WantError(t, err, "NoSuchEntity", 404, "alice")
}

func TestEveryCallIsAuthorizedOnItsResource(t *testing.T) {
	t.Parallel()
	s := doortest.Start(t, nil)
	ctx := t.Context()
	nobody := person(t, s, "nobody", nil)
	_, err := nobody.ListUsers(ctx, &awsiam.ListUsersInput{})
	doortest.WantError(
		t,
		err,
		"AccessDenied",
		403,
		"User: "+userARN+"/nobody is not authorized to perform: iam:ListUsers on resource: * because no identity-based "+
			"policy allows the iam:ListUsers action",
	)
	_, err = nobody.GetUser(ctx, &awsiam.GetUserInput{UserName: aws.String("who")})
	doortest.WantError(t, err, "AccessDenied", 403, userARN+"/who")
	if e := s.Trail.Last(); e.ErrorCode != "AccessDenied" || e.EventName != "GetUser" || e.Reason == "" {
		t.Errorf("audit event %+v", e)
	}

	admin := s.IAM(s.Admin)
	for name, path := range map[string]string{"in": "/team/", "out": "/"} {
		must[*awsiam.CreateUserOutput](t)(admin.CreateUser(ctx, &awsiam.CreateUserInput{UserName: &name, Path: &path}))
	}
	lead := person(t, s, "lead", allow("iam:*", userARN+"/team/*"))
	must[*awsiam.GetUserOutput](t)(lead.GetUser(ctx, &awsiam.GetUserInput{UserName: aws.String("in")}))
	_, err = lead.GetUser(ctx, &awsiam.GetUserInput{UserName: aws.String("out")})
	doortest.WantError(t, err, "AccessDenied", 403, userARN+"/out")
	must[*awsiam.CreateUserOutput](
		t,
	)(
		lead.CreateUser(ctx, &awsiam.CreateUserInput{UserName: aws.String("new"), Path: aws.String("/team/")}),
	)
	_, err = lead.CreateUser(ctx, &awsiam.CreateUserInput{UserName: aws.String("new2")})
	doortest.WantError(t, err, "AccessDenied", 403, userARN+"/new2")
	_, err = lead.UpdateUser(ctx, &awsiam.UpdateUserInput{UserName: aws.String("in"), NewPath: aws.String("/")})
	doortest.WantError(t, err, "AccessDenied", 403, userARN+"/in")

	tagged := person(t, s, "tagged", aws.String(`{"Version":"2012-10-17","Statement":[
	  {"Effect":"Allow","Action":"iam:GetUser","Resource":"*","Condition":{"StringEquals":{"iam:ResourceTag/Team":"blue"}}},
	  {"Effect":"Allow","Action":"iam:TagUser","Resource":"*","Condition":{"StringEquals":{"aws:RequestTag/Team":"blue"},"ForAllValues:StringEquals":{"aws:TagKeys":["Team"]}}},
	  {"Effect":"Allow","Action":"iam:AttachUserPolicy","Resource":"*","Condition":{"ArnEquals":{"iam:PolicyARN":"arn:aws:iam::aws:policy/ReadOnlyAccess"}}}]}`))
	_, err = tagged.GetUser(ctx, &awsiam.GetUserInput{UserName: aws.String("in")})
	doortest.WantError(t, err, "AccessDenied", 403, "iam:GetUser")
	_, err = tagged.TagUser(
		ctx,
		&awsiam.TagUserInput{
			UserName: aws.String("in"),
			Tags:     []types.Tag{{Key: aws.String("Team"), Value: aws.String("red")}},
		},
	)
	doortest.WantError(t, err, "AccessDenied", 403, "iam:TagUser")
	must[*awsiam.TagUserOutput](
		t,
	)(
		tagged.TagUser(
			ctx,
			&awsiam.TagUserInput{
				UserName: aws.String("in"),
				Tags:     []types.Tag{{Key: aws.String("Team"), Value: aws.String("blue")}},
			},
		),
	)
	must[*awsiam.GetUserOutput](t)(tagged.GetUser(ctx, &awsiam.GetUserInput{UserName: aws.String("in")}))
	_, err = tagged.AttachUserPolicy(
		ctx,
		&awsiam.AttachUserPolicyInput{
			UserName:  aws.String("tagged"),
			PolicyArn: aws.String("arn:aws:iam::aws:policy/AdministratorAccess"),
		},
	)
	doortest.WantError(t, err, "AccessDenied", 403, "iam:AttachUserPolicy")
	must[*awsiam.AttachUserPolicyOutput](
		t,
	)(
		tagged.AttachUserPolicy(
			ctx,
			&awsiam.AttachUserPolicyInput{
				UserName:  aws.String("tagged"),
				PolicyArn: aws.String("arn:aws:iam::aws:policy/ReadOnlyAccess"),
			},
		),
	)
	must[*awsiam.ListUsersOutput](t)(tagged.ListUsers(ctx, &awsiam.ListUsersInput{}))
}

func TestABoundaryLimitsADelegate(t *testing.T) {
	t.Parallel()
	s := doortest.Start(t, nil)
	ctx := t.Context()
	bound := *must[*awsiam.CreatePolicyOutput](t)(s.IAM(s.Admin).CreatePolicy(ctx,
		&awsiam.CreatePolicyInput{PolicyName: aws.String("bound"), PolicyDocument: allow("iam:List*", "*")})).Policy.Arn
	delegate := person(t, s, "delegate", aws.String(`{"Version":"2012-10-17","Statement":[
	  {"Effect":"Allow","Action":["iam:CreateUser","iam:PutUserPolicy","iam:PutUserPermissionsBoundary"],"Resource":"*","Condition":{"StringEquals":{"iam:PermissionsBoundary":"`+bound+`"}}},
	  {"Effect":"Allow","Action":"iam:CreateAccessKey","Resource":"*"}]}`))
	_, err := delegate.CreateUser(ctx, &awsiam.CreateUserInput{UserName: aws.String("free")})
	doortest.WantError(t, err, "AccessDenied", 403, "iam:CreateUser")
	_, err = delegate.PutUserPolicy(
		ctx,
		&awsiam.PutUserPolicyInput{
			UserName:       aws.String("delegate"),
			PolicyName:     aws.String("p"),
			PolicyDocument: allow("*", "*"),
		},
	)
	doortest.WantError(t, err, "AccessDenied", 403, "iam:PutUserPolicy")
	made := must[*awsiam.CreateUserOutput](
		t,
	)(
		delegate.CreateUser(ctx, &awsiam.CreateUserInput{UserName: aws.String("bob"), PermissionsBoundary: &bound}),
	).User
	if *made.PermissionsBoundary.PermissionsBoundaryArn != bound {
		t.Errorf("boundary = %+v", made.PermissionsBoundary)
	}
	must[*awsiam.PutUserPolicyOutput](
		t,
	)(
		delegate.PutUserPolicy(
			ctx,
			&awsiam.PutUserPolicyInput{
				UserName:       aws.String("bob"),
				PolicyName:     aws.String("p"),
				PolicyDocument: allow("*", "*"),
			},
		),
	)
	k := must[*awsiam.CreateAccessKeyOutput](
		t,
	)(
		delegate.CreateAccessKey(ctx, &awsiam.CreateAccessKeyInput{UserName: aws.String("bob")}),
	).AccessKey
	bob := s.IAM(aws.Credentials{AccessKeyID: *k.AccessKeyId, SecretAccessKey: *k.SecretAccessKey})
	must[*awsiam.ListUsersOutput](t)(bob.ListUsers(ctx, &awsiam.ListUsersInput{}))
	_, err = bob.GetUser(ctx, &awsiam.GetUserInput{})
	doortest.WantError(t, err, "AccessDenied", 403, "because no permissions boundary allows the iam:GetUser action")
	_, err = delegate.DeleteUserPermissionsBoundary(
		ctx,
		&awsiam.DeleteUserPermissionsBoundaryInput{UserName: aws.String("bob")},
	)
	doortest.WantError(t, err, "AccessDenied", 403, "iam:DeleteUserPermissionsBoundary")
}

func TestListingsComeInPages(t *testing.T) {
	t.Parallel()
	s := doortest.Start(t, nil)
	c := s.IAM(s.Admin)
	want := []string{"admin"}
	for i := range 7 {
		name := fmt.Sprintf("u%d", i)
		must[*awsiam.CreateUserOutput](t)(c.CreateUser(t.Context(), &awsiam.CreateUserInput{UserName: &name}))
		want = append(want, name)
	}
	var got []string
	pages := 0
	for p := awsiam.NewListUsersPaginator(c, &awsiam.ListUsersInput{MaxItems: aws.Int32(3)}); p.HasMorePages(); pages++ {
		for _, u := range must[*awsiam.ListUsersOutput](t)(p.NextPage(t.Context())).Users {
			got = append(got, *u.UserName)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" || pages != 3 {
		t.Errorf("%d pages: %s", pages, diff)
	}
	_, err := c.ListUsers(t.Context(), &awsiam.ListUsersInput{MaxItems: aws.Int32(1001)})
	doortest.WantError(t, err, "ValidationError", 400, "maxItems")
	_, err = c.ListUsers(t.Context(), &awsiam.ListUsersInput{Marker: aws.String("%%%")})
	doortest.WantError(t, err, "ValidationError", 400, "Marker")
}

func TestGroupsRolesAndProfiles(t *testing.T) {
	t.Parallel()
	s := doortest.Start(t, nil)
	ctx := t.Context()
	c := s.IAM(s.Admin)
	ops, alice := aws.String("ops"), aws.String("alice")
	must[*awsiam.CreateUserOutput](t)(c.CreateUser(ctx, &awsiam.CreateUserInput{UserName: alice}))
	must[*awsiam.CreateGroupOutput](t)(c.CreateGroup(ctx, &awsiam.CreateGroupInput{GroupName: ops}))
	must[*awsiam.AddUserToGroupOutput](
		t,
	)(
		c.AddUserToGroup(ctx, &awsiam.AddUserToGroupInput{GroupName: ops, UserName: alice}),
	)
	must[*awsiam.PutGroupPolicyOutput](
		t,
	)(
		c.PutGroupPolicy(
			ctx,
			&awsiam.PutGroupPolicyInput{
				GroupName:      ops,
				PolicyName:     aws.String("p"),
				PolicyDocument: allow("ssm:*", "*"),
			},
		),
	)
	must[*awsiam.AttachGroupPolicyOutput](
		t,
	)(
		c.AttachGroupPolicy(
			ctx,
			&awsiam.AttachGroupPolicyInput{
				GroupName: ops,
				PolicyArn: aws.String("arn:aws:iam::aws:policy/ReadOnlyAccess"),
			},
		),
	)
	if g := must[*awsiam.GetGroupOutput](t)(c.GetGroup(ctx, &awsiam.GetGroupInput{GroupName: ops})); len(
		g.Users,
	) != 1 ||
		*g.Users[0].UserName != "alice" {
		t.Errorf("members = %+v", g.Users)
	}
	if g := must[*awsiam.ListGroupsForUserOutput](t)(
		c.ListGroupsForUser(ctx, &awsiam.ListGroupsForUserInput{UserName: alice})).Groups; len(
		g,
	) != 1 ||
		*g[0].GroupName != "ops" {
		t.Errorf("groups = %+v", g)
	}
	_, err := c.DeleteGroup(ctx, &awsiam.DeleteGroupInput{GroupName: ops})
	doortest.WantError(t, err, "DeleteConflict", 409, "remove users from group")
	must[*awsiam.RemoveUserFromGroupOutput](
		t,
	)(
		c.RemoveUserFromGroup(ctx, &awsiam.RemoveUserFromGroupInput{GroupName: ops, UserName: alice}),
	)

	trust := aws.String(
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ssm.amazonaws.com"},` +
			`"Action":"sts:AssumeRole"}]}`,
	)
	node := aws.String("node")
	r := must[*awsiam.CreateRoleOutput](
		t,
	)(
		c.CreateRole(
			ctx,
			&awsiam.CreateRoleInput{
				RoleName:                 node,
				Path:                     aws.String("/service-role/"),
				AssumeRolePolicyDocument: trust,
				MaxSessionDuration:       aws.Int32(7200),
			},
		),
	).Role
	if *r.Arn != "arn:aws:iam::"+doortest.Account+":role/service-role/node" || *r.MaxSessionDuration != 7200 ||
		!strings.HasPrefix(*r.RoleId, "AROA") {
		t.Errorf("role = %+v", r)
	}
	_, err = c.CreateRole(
		ctx,
		&awsiam.CreateRoleInput{RoleName: aws.String("bad"), AssumeRolePolicyDocument: allow("sts:AssumeRole", "*")},
	)
	doortest.WantError(t, err, "MalformedPolicyDocument", 400, "Has prohibited field Resource.")
	_, err = c.CreateRole(
		ctx,
		&awsiam.CreateRoleInput{
			RoleName: aws.String("bad"),
			AssumeRolePolicyDocument: aws.String(
				strings.Replace(*trust, `"Service":"ssm.amazonaws.com"`, `"AWS":"`+userARN+`/ghost"`, 1),
			),
		},
	)
	doortest.WantError(t, err, "MalformedPolicyDocument", 400, `Invalid principal in policy: "AWS":"`+userARN+`/ghost"`)
	must[*awsiam.CreateInstanceProfileOutput](
		t,
	)(
		c.CreateInstanceProfile(ctx, &awsiam.CreateInstanceProfileInput{InstanceProfileName: node}),
	)
	must[*awsiam.AddRoleToInstanceProfileOutput](
		t,
	)(
		c.AddRoleToInstanceProfile(
			ctx,
			&awsiam.AddRoleToInstanceProfileInput{InstanceProfileName: node, RoleName: node},
		),
	)
	_, err = c.AddRoleToInstanceProfile(
		ctx,
		&awsiam.AddRoleToInstanceProfileInput{InstanceProfileName: node, RoleName: node},
	)
	doortest.WantError(t, err, "LimitExceeded", 409, "InstanceSessionsPerInstanceProfile")
	if p := must[*awsiam.GetInstanceProfileOutput](t)(
		c.GetInstanceProfile(ctx, &awsiam.GetInstanceProfileInput{InstanceProfileName: node})).InstanceProfile; len(
		p.Roles,
	) != 1 ||
		*p.Roles[0].RoleName != "node" {
		t.Errorf("profile = %+v", p)
	}
	if ps := must[*awsiam.ListInstanceProfilesForRoleOutput](t)(
		c.ListInstanceProfilesForRole(ctx, &awsiam.ListInstanceProfilesForRoleInput{RoleName: node})).InstanceProfiles; len(
		ps,
	) != 1 {
		t.Errorf("profiles = %+v", ps)
	}
	_, err = c.DeleteRole(ctx, &awsiam.DeleteRoleInput{RoleName: node})
	doortest.WantError(t, err, "DeleteConflict", 409, "instance profile")
	must[*awsiam.UpdateRoleOutput](
		t,
	)(
		c.UpdateRole(ctx, &awsiam.UpdateRoleInput{RoleName: node, Description: aws.String("for nodes")}),
	)
	got := must[*awsiam.GetRoleOutput](t)(c.GetRole(ctx, &awsiam.GetRoleInput{RoleName: node})).Role
	if *got.Description != "for nodes" || *got.MaxSessionDuration != 7200 {
		t.Errorf("role after the update = %+v", got)
	}
}

func TestManagedPolicies(t *testing.T) {
	t.Parallel()
	s := doortest.Start(t, nil)
	ctx := t.Context()
	c := s.IAM(s.Admin)
	p := must[*awsiam.CreatePolicyOutput](
		t,
	)(
		c.CreatePolicy(
			ctx,
			&awsiam.CreatePolicyInput{
				PolicyName:     aws.String("p"),
				Path:           aws.String("/x/"),
				PolicyDocument: allow("ssm:*", "*"),
				Description:    aws.String("d"),
			},
		),
	).Policy
	if *p.Arn != "arn:aws:iam::"+doortest.Account+":policy/x/p" || *p.DefaultVersionId != "v1" {
		t.Errorf("policy = %+v", p)
	}
	v := must[*awsiam.CreatePolicyVersionOutput](
		t,
	)(
		c.CreatePolicyVersion(
			ctx,
			&awsiam.CreatePolicyVersionInput{PolicyArn: p.Arn, PolicyDocument: allow("ec2:*", "*"), SetAsDefault: true},
		),
	).PolicyVersion
	if *v.VersionId != "v2" || !v.IsDefaultVersion {
		t.Errorf("version = %+v", v)
	}
	text := must[*awsiam.GetPolicyVersionOutput](
		t,
	)(
		c.GetPolicyVersion(ctx, &awsiam.GetPolicyVersionInput{PolicyArn: p.Arn, VersionId: aws.String("v1")}),
	).PolicyVersion
	if doc, _ := url.PathUnescape(*text.Document); doc != *allow("ssm:*", "*") || text.IsDefaultVersion {
		t.Errorf("v1 = %s", doc)
	}
	_, err := c.DeletePolicyVersion(
		ctx,
		&awsiam.DeletePolicyVersionInput{PolicyArn: p.Arn, VersionId: aws.String("v2")},
	)
	doortest.WantError(t, err, "DeleteConflict", 409, "default version")
	_, err = c.GetPolicyVersion(ctx, &awsiam.GetPolicyVersionInput{PolicyArn: p.Arn, VersionId: aws.String("v9")})
	doortest.WantError(t, err, "NoSuchEntity", 404, "v9")
	must[*awsiam.AttachUserPolicyOutput](
		t,
	)(
		c.AttachUserPolicy(ctx, &awsiam.AttachUserPolicyInput{UserName: aws.String("admin"), PolicyArn: p.Arn}),
	)
	if e := must[*awsiam.ListEntitiesForPolicyOutput](t)(
		c.ListEntitiesForPolicy(ctx, &awsiam.ListEntitiesForPolicyInput{PolicyArn: p.Arn})); len(
		e.PolicyUsers,
	) != 1 ||
		*e.PolicyUsers[0].UserName != "admin" {
		t.Errorf("entities = %+v", e)
	}
	if n := *must[*awsiam.GetPolicyOutput](t)(c.GetPolicy(ctx,
		&awsiam.GetPolicyInput{PolicyArn: p.Arn})).Policy.AttachmentCount; n != 1 {
		t.Errorf("attachments = %d", n)
	}
	_, err = c.DeletePolicy(ctx, &awsiam.DeletePolicyInput{PolicyArn: p.Arn})
	doortest.WantError(t, err, "DeleteConflict", 409, "attached to entities")
	if local := must[*awsiam.ListPoliciesOutput](t)(c.ListPolicies(ctx,
		&awsiam.ListPoliciesInput{Scope: types.PolicyScopeTypeLocal})).Policies; len(
		local,
	) != 1 ||
		*local[0].PolicyName != "p" {
		t.Errorf("local policies = %+v", local)
	}
	_, err = c.AttachUserPolicy(
		ctx,
		&awsiam.AttachUserPolicyInput{
			UserName:  aws.String("admin"),
			PolicyArn: aws.String("arn:aws:iam::aws:policy/Nothing"),
		},
	)
	doortest.WantError(t, err, "NoSuchEntity", 404, "does not exist or is not attachable")
}

func TestDevicesAreCreatedEnabledAndListed(t *testing.T) {
	t.Parallel()
	s := doortest.Start(t, nil)
	ctx := t.Context()
	c := s.IAM(s.Admin)
	admin := aws.String("admin")
	dev := must[*awsiam.CreateVirtualMFADeviceOutput](
		t,
	)(
		c.CreateVirtualMFADevice(ctx, &awsiam.CreateVirtualMFADeviceInput{VirtualMFADeviceName: admin}),
	).VirtualMFADevice
	if *dev.SerialNumber != "arn:aws:iam::"+doortest.Account+":mfa/admin" {
		t.Errorf("serial = %s", *dev.SerialNumber)
	}
	if img, err := png.Decode(bytes.NewReader(dev.QRCodePNG)); err != nil || img.Bounds().Dx() < 100 {
		t.Errorf("QR code: %v", err)
	}
	code := func(at time.Time) *string {
		v, err := totp.GenerateCode(string(dev.Base32StringSeed), at)
		if err != nil {
			t.Fatal(err)
		}
		return &v
	}
	_, err := c.EnableMFADevice(
		ctx,
		&awsiam.EnableMFADeviceInput{
			UserName:            admin,
			SerialNumber:        dev.SerialNumber,
			AuthenticationCode1: aws.String("000000"),
			AuthenticationCode2: aws.String("000000"),
		},
	)
	doortest.WantError(t, err, "InvalidAuthenticationCode", http.StatusForbidden, "not valid")
	now := time.Now()
	must[*awsiam.EnableMFADeviceOutput](
		t,
	)(
		c.EnableMFADevice(
			ctx,
			&awsiam.EnableMFADeviceInput{
				UserName:            admin,
				SerialNumber:        dev.SerialNumber,
				AuthenticationCode1: code(now.Add(-30 * time.Second)),
				AuthenticationCode2: code(now),
			},
		),
	)
	if l := must[*awsiam.ListMFADevicesOutput](t)(c.ListMFADevices(ctx, &awsiam.ListMFADevicesInput{})).MFADevices; len(
		l,
	) != 1 ||
		*l[0].SerialNumber != *dev.SerialNumber {
		t.Errorf("devices = %+v", l)
	}
	if l := must[*awsiam.ListVirtualMFADevicesOutput](t)(
		c.ListVirtualMFADevices(ctx,
			&awsiam.ListVirtualMFADevicesInput{AssignmentStatus: types.AssignmentStatusTypeAssigned})).VirtualMFADevices; len(
		l,
	) != 1 ||
		*l[0].User.UserName != "admin" ||
		l[0].Base32StringSeed != nil {
		t.Errorf("virtual devices = %+v", l)
	}
	_, err = c.DeleteVirtualMFADevice(ctx, &awsiam.DeleteVirtualMFADeviceInput{SerialNumber: dev.SerialNumber})
	doortest.WantError(t, err, "DeleteConflict", 409, "deactivate")
	must[*awsiam.DeactivateMFADeviceOutput](
		t,
	)(
		c.DeactivateMFADevice(ctx, &awsiam.DeactivateMFADeviceInput{UserName: admin, SerialNumber: dev.SerialNumber}),
	)
	must[*awsiam.DeleteVirtualMFADeviceOutput](
		t,
	)(
		c.DeleteVirtualMFADevice(ctx, &awsiam.DeleteVirtualMFADeviceInput{SerialNumber: dev.SerialNumber}),
	)
}

func TestAccountSummaryAndDetails(t *testing.T) {
	t.Parallel()
	s := doortest.Start(t, nil)
	c := s.IAM(s.Admin)
	m := must[*awsiam.GetAccountSummaryOutput](
		t,
	)(
		c.GetAccountSummary(t.Context(), &awsiam.GetAccountSummaryInput{}),
	).SummaryMap
	if m["Users"] != 1 || m["Roles"] != 1 || m["UsersQuota"] != 5000 {
		t.Errorf("summary = %v", m)
	}
	d := must[*awsiam.GetAccountAuthorizationDetailsOutput](
		t,
	)(
		c.GetAccountAuthorizationDetails(t.Context(), &awsiam.GetAccountAuthorizationDetailsInput{}),
	)
	if len(d.UserDetailList) != 1 ||
		*d.UserDetailList[0].AttachedManagedPolicies[0].PolicyName != "AdministratorAccess" ||
		len(d.RoleDetailList) != 1 ||
		len(d.Policies) != 2 ||
		len(d.Policies[0].PolicyVersionList) != 1 {
		t.Errorf(
			"details: %d users, %d roles, %d policies",
			len(d.UserDetailList),
			len(d.RoleDetailList),
			len(d.Policies),
		)
	}
	d = must[*awsiam.GetAccountAuthorizationDetailsOutput](
		t,
	)(
		c.GetAccountAuthorizationDetails(
			t.Context(),
			&awsiam.GetAccountAuthorizationDetailsInput{Filter: []types.EntityType{types.EntityTypeUser}},
		),
	)
	if len(d.UserDetailList) != 1 || len(d.RoleDetailList)+len(d.Policies) != 0 {
		t.Error("the filter is not kept")
	}
}

func TestSimulations(t *testing.T) {
	t.Parallel()
	s := doortest.Start(t, nil)
	ctx := t.Context()
	c := s.IAM(s.Admin)
	doc := `{"Version":"2012-10-17","Statement":[
  {"Effect":"Allow","Action":"ssm:StartSession","Resource":"arn:aws:ec2:*:*:instance/i-1","Condition":{"DateGreaterThan":{"aws:CurrentTime":"2026-01-01T00:00:00Z"}}},
  {"Effect":"Deny","Action":"ssm:TerminateSession","Resource":"*"}]}`
	in := &awsiam.SimulateCustomPolicyInput{
		ActionNames: []string{
			"ssm:StartSession",
			"ssm:TerminateSession",
			"ssm:DescribeSessions",
		}, PolicyInputList: []string{doc},
		ResourceArns: []string{
			"arn:aws:ec2:us-east-1:123456789012:instance/i-1",
			"arn:aws:ec2:us-east-1:123456789012:instance/i-2",
		},
		ContextEntries: []types.ContextEntry{
			{
				ContextKeyName:   aws.String("aws:CurrentTime"),
				ContextKeyType:   types.ContextKeyTypeEnumDate,
				ContextKeyValues: []string{"2026-11-23T00:00:00Z"},
			},
		},
	}
	results := must[*awsiam.SimulateCustomPolicyOutput](t)(c.SimulateCustomPolicy(ctx, in)).EvaluationResults
	var got []string
	for _, r := range results {
		got = append(got, fmt.Sprint(*r.EvalActionName, " ", r.EvalDecision))
		for _, rr := range r.ResourceSpecificResults {
			got = append(got, fmt.Sprint("  ", path.Base(*rr.EvalResourceName), " ", rr.EvalResourceDecision))
		}
	}
	want := []string{
		"ssm:StartSession implicitDeny", "  i-1 allowed", "  i-2 implicitDeny",
		"ssm:TerminateSession explicitDeny", "  i-1 explicitDeny", "  i-2 explicitDeny",
		"ssm:DescribeSessions implicitDeny", "  i-1 implicitDeny", "  i-2 implicitDeny",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	m := results[0].ResourceSpecificResults[0].MatchedStatements
	if len(m) != 1 || *m[0].SourcePolicyId != "PolicyInputList.1" || m[0].StartPosition.Line != 2 ||
		m[0].StartPosition.Column < 3 {
		t.Errorf("matched = %+v", m)
	}
	in.ContextEntries, in.ResourceArns = nil, nil
	results = must[*awsiam.SimulateCustomPolicyOutput](t)(c.SimulateCustomPolicy(ctx, in)).EvaluationResults
	if diff := cmp.Diff([]string{"aws:CurrentTime"}, results[0].MissingContextValues); diff != "" ||
		results[0].ResourceSpecificResults != nil {
		t.Errorf("missing: %s", diff)
	}

	person(t, s, "alice", allow("ssm:StartSession", "*"))
	r := must[*awsiam.SimulatePrincipalPolicyOutput](t)(
		c.SimulatePrincipalPolicy(ctx, &awsiam.SimulatePrincipalPolicyInput{
			PolicySourceArn: aws.String(userARN + "/alice"), ActionNames: []string{"ssm:StartSession"},
			PermissionsBoundaryPolicyInputList: []string{*allow("ec2:*", "*")},
		})).EvaluationResults[0]
	if r.EvalDecision != types.PolicyEvaluationDecisionTypeImplicitDeny || r.PermissionsBoundaryDecisionDetail == nil ||
		r.PermissionsBoundaryDecisionDetail.AllowedByPermissionsBoundary {
		t.Errorf("with a boundary: %+v", r)
	}
	r = must[*awsiam.SimulatePrincipalPolicyOutput](t)(c.SimulatePrincipalPolicy(ctx, &awsiam.SimulatePrincipalPolicyInput{
		PolicySourceArn: aws.String(userARN + "/alice"), ActionNames: []string{"ssm:StartSession"},
	})).EvaluationResults[0]
	if r.EvalDecision != types.PolicyEvaluationDecisionTypeAllowed || *r.MatchedStatements[0].SourcePolicyId != "p" ||
		r.MatchedStatements[0].SourcePolicyType != "user" {
		t.Errorf("without: %+v", r)
	}
	_, err := c.SimulatePrincipalPolicy(
		ctx,
		&awsiam.SimulatePrincipalPolicyInput{
			PolicySourceArn: aws.String(userARN + "/ghost"),
			ActionNames:     []string{"ssm:StartSession"},
		},
	)
	doortest.WantError(t, err, "NoSuchEntity", 404, "ghost")
	_, err = c.SimulateCustomPolicy(
		ctx,
		&awsiam.SimulateCustomPolicyInput{PolicyInputList: []string{"{"}, ActionNames: []string{"ssm:StartSession"}},
	)
	doortest.WantError(t, err, "InvalidInput", 400, "PolicyInputList.1")
}

func TestUnsupportedOperations(t *testing.T) {
	t.Parallel()
	s := doortest.Start(t, nil)
	_, err := s.IAM(s.Admin).ListSAMLProviders(t.Context(), &awsiam.ListSAMLProvidersInput{})
	doortest.WantError(t, err, "NotImplemented", 501, "iam:ListSAMLProviders is not implemented by Sekisho")
}

func TestChangePasswordRequiresTheOldOne(t *testing.T) {
	t.Parallel()
	s := doortest.Start(t, nil)
	ctx := t.Context()
	alice := person(t, s, "alice", allow("iam:ChangePassword", userARN+"/${aws:username}"))
	must[*awsiam.CreateLoginProfileOutput](
		t,
	)(
		s.IAM(s.Admin).
			CreateLoginProfile(ctx, &awsiam.CreateLoginProfileInput{UserName: aws.String("alice"),
				Password: aws.String("Correct-Horse-1")}),
	)
	_, err := alice.ChangePassword(
		ctx,
		&awsiam.ChangePasswordInput{
			OldPassword: aws.String("Wrong-Horse-1"),
			NewPassword: aws.String("Battery-Staple-2"),
		},
	)
	doortest.WantError(t, err, "AccessDenied", 403, "old password")
	must[*awsiam.ChangePasswordOutput](
		t,
	)(
		alice.ChangePassword(
			ctx,
			&awsiam.ChangePasswordInput{
				OldPassword: aws.String("Correct-Horse-1"),
				NewPassword: aws.String("Battery-Staple-2"),
			},
		),
	)
	if _, err := s.Directory.SignIns.CheckPassword(ctx, "alice", "Battery-Staple-2", "sekisho.test", netip.Addr{},
		identity.Second{}); err != nil {
		t.Errorf("the new password: %v", err)
	}
}
