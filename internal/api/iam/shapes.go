package iam

import (
	"encoding/base64"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"sekisho/internal/iam/identity"
	"sekisho/internal/wire/awsproto"
)

// list is a list on the wire. An empty list is written as well, because Python
// clients index the member without checking.
type list[T any] struct {
	Member []T `xml:"member"`
}

func listed[T, U any](in []T, f func(T) U) list[U] {
	out := list[U]{Member: make([]U, 0, len(in))}
	for _, v := range in {
		out.Member = append(out.Member, f(v))
	}
	return out
}

type tag struct{ Key, Value string }

// tagList is the tags of an object, nil when it has none.
func tagList(tags map[string]string) *list[tag] {
	if len(tags) == 0 {
		return nil
	}
	out := &list[tag]{}
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		out.Member = append(out.Member, tag{k, tags[k]})
	}
	return out
}

func tagMap(tags []tag) (map[string]string, error) {
	out := make(map[string]string, len(tags))
	for _, t := range tags {
		if _, twice := out[t.Key]; twice {
			return nil, awsproto.SenderError(
				"InvalidInput",
				"Duplicate tag keys found. Please note that Tag keys are case insensitive.",
			)
		}
		out[t.Key] = t.Value
	}
	return out, nil
}

// date returns a time on the wire, nil for the zero time.
func date(t time.Time) *awsproto.Epoch {
	if t.IsZero() {
		return nil
	}
	e := awsproto.NewEpoch(t.UTC().Truncate(time.Second))
	return &e
}

// encoded percent-encodes a policy document for an answer.
func encoded(document string) string {
	return strings.ReplaceAll(url.QueryEscape(document), "+", "%20")
}

type boundary struct {
	PermissionsBoundaryType string
	PermissionsBoundaryArn  string
}

func boundaryOf(h *identity.Holder) *boundary {
	if h.Boundary == "" {
		return nil
	}
	return &boundary{"Policy", h.Boundary}
}

type user struct {
	Path                string
	UserName            string
	UserID              string `xml:"UserId"`
	Arn                 string
	CreateDate          *awsproto.Epoch
	PasswordLastUsed    *awsproto.Epoch `xml:",omitempty"`
	PermissionsBoundary *boundary       `xml:",omitempty"`
	Tags                *list[tag]      `xml:",omitempty"`
}

func userShape(u *identity.User) user {
	return user{Path: u.Path, UserName: u.Name, UserID: u.ID, Arn: u.ARN, CreateDate: date(u.Created)}
}

// userWhole has the members of GetUser and CreateUser that ListUsers lacks.
func userWhole(u *identity.User) user {
	s := userShape(u)
	s.PermissionsBoundary, s.Tags = boundaryOf(&u.Holder), tagList(u.Tags)
	return s
}

type group struct {
	Path       string
	GroupName  string
	GroupID    string `xml:"GroupId"`
	Arn        string
	CreateDate *awsproto.Epoch
}

func groupShape(g *identity.Group) group {
	return group{g.Path, g.Name, g.ID, g.ARN, date(g.Created)}
}

type roleLastUsed struct {
	LastUsedDate *awsproto.Epoch `xml:",omitempty"`
	Region       string          `xml:",omitempty"`
}

type role struct {
	Path                     string
	RoleName                 string
	RoleID                   string `xml:"RoleId"`
	Arn                      string
	CreateDate               *awsproto.Epoch
	AssumeRolePolicyDocument string
	Description              string        `xml:",omitempty"`
	MaxSessionDuration       int           `xml:",omitempty"`
	PermissionsBoundary      *boundary     `xml:",omitempty"`
	Tags                     *list[tag]    `xml:",omitempty"`
	RoleLastUsed             *roleLastUsed `xml:",omitempty"`
}

func roleShape(r *identity.Role, trust string) role {
	return role{
		Path: r.Path, RoleName: r.Name, RoleID: r.ID, Arn: r.ARN, CreateDate: date(r.Created),
		AssumeRolePolicyDocument: encoded(trust), Description: r.Description,
		MaxSessionDuration: int(r.MaxSession / time.Second),
	}
}

type instanceProfile struct {
	Path                string
	InstanceProfileName string
	InstanceProfileID   string `xml:"InstanceProfileId"`
	Arn                 string
	CreateDate          *awsproto.Epoch
	Roles               list[role]
	Tags                *list[tag] `xml:",omitempty"`
}

type managedPolicy struct {
	PolicyName                    string
	PolicyID                      string `xml:"PolicyId"`
	Arn                           string
	Path                          string
	DefaultVersionID              string `xml:"DefaultVersionId"`
	AttachmentCount               int
	PermissionsBoundaryUsageCount int
	IsAttachable                  bool
	Description                   string `xml:",omitempty"`
	CreateDate                    *awsproto.Epoch
	UpdateDate                    *awsproto.Epoch
	Tags                          *list[tag]           `xml:",omitempty"`
	PolicyVersionList             *list[policyVersion] `xml:",omitempty"`
}

func policyShape(p *identity.Policy, attached, boundaries int) managedPolicy {
	return managedPolicy{
		PolicyName: p.Name, PolicyID: p.ID, Arn: p.ARN, Path: p.Path, DefaultVersionID: p.Default,
		AttachmentCount: attached, PermissionsBoundaryUsageCount: boundaries, IsAttachable: true,
		CreateDate: date(p.Created), UpdateDate: date(p.Updated),
	}
}

type policyVersion struct {
	Document         string `xml:",omitempty"`
	VersionID        string `xml:"VersionId"`
	IsDefaultVersion bool
	CreateDate       *awsproto.Epoch
}

func versionShape(p *identity.Policy, v *identity.PolicyVersion, withText bool) policyVersion {
	s := policyVersion{VersionID: v.ID, IsDefaultVersion: v.ID == p.Default, CreateDate: date(v.Created)}
	if withText {
		s.Document = encoded(v.Document)
	}
	return s
}

type attachedPolicy struct {
	PolicyName string
	PolicyArn  string
}

func attachedShape(arn string) attachedPolicy {
	return attachedPolicy{arn[strings.LastIndexByte(arn, '/')+1:], arn}
}

type accessKey struct {
	UserName        string
	AccessKeyID     string `xml:"AccessKeyId"`
	Status          string
	SecretAccessKey string `xml:",omitempty"`
	CreateDate      *awsproto.Epoch
}

func keyShape(user string, k *identity.AccessKey) accessKey {
	s := accessKey{UserName: user, AccessKeyID: k.ID, Status: "Inactive", CreateDate: date(k.Created)}
	if k.Active {
		s.Status = "Active"
	}
	return s
}

// paging holds the paging parameters of a list operation.
type paging struct {
	Marker   string
	MaxItems *int
}

// more holds the paging members of a list answer.
type more struct {
	IsTruncated bool
	Marker      string `xml:",omitempty"`
}

// base64Text returns a blob on the wire.
func base64Text(b []byte) string { return base64.StdEncoding.EncodeToString(b) }
