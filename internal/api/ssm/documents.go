package ssm

import (
	"context"
	"errors"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"sekisho"
	"sekisho/internal/api"
	"sekisho/internal/iam/authz"
	"sekisho/internal/ssmdoc"
	"sekisho/internal/ssmdoc/doclibrary"
	"sekisho/internal/wire/awsproto"
)

func (d documentDoor) operations() map[string]api.Operation {
	return map[string]api.Operation{
		"CreateDocument":               api.Write(d.createDocument),
		"UpdateDocument":               api.Write(d.updateDocument),
		"UpdateDocumentDefaultVersion": api.Write(d.updateDocumentDefaultVersion),
		"GetDocument":                  api.Read(d.getDocument),
		"DescribeDocument":             api.Read(d.describeDocument),
		"ListDocuments":                api.Read(d.listDocuments),
		"ListDocumentVersions":         api.Read(d.listDocumentVersions),
		"DeleteDocument":               api.Write(d.deleteDocument),
		"ModifyDocumentPermission":     api.Write(d.modifyDocumentPermission),
		"DescribeDocumentPermission":   api.Read(d.describeDocumentPermission),
	}
}

// Patterns of the SSM model.
var (
	documentNamePattern = regexp.MustCompile(`^[a-zA-Z0-9_\-.]{3,128}$`)
	documentARNPattern  = regexp.MustCompile(`^[a-zA-Z0-9_\-.:/]{3,128}$`)
	versionNamePattern  = regexp.MustCompile(`^[a-zA-Z0-9_\-.]{1,128}$`)
	versionPattern      = regexp.MustCompile(`^(\$LATEST|\$DEFAULT|[1-9][0-9]{0,17})$`)
	versionNumber       = regexp.MustCompile(`^[1-9][0-9]{0,17}$`)
	displayNamePattern  = regexp.MustCompile(`^[\w.\-:/ ]*$`)
	targetTypePattern   = regexp.MustCompile(`^/[\w.\-:/]{0,199}$`)
	accountPattern      = regexp.MustCompile(`^([aA][lL][lL]|[0-9]{12})$`)
)

// documentName returns the name of a document that is given by name or ARN.
func (d documentDoor) documentName(given string) (string, error) {
	if given == "" {
		return "", nil
	}
	var v awsproto.Constraints
	v.Pattern("documentName", given, documentARNPattern)
	if err := v.Err(); err != nil {
		return "", err
	}
	name := given
	if strings.HasPrefix(given, "arn:") {
		name = given[strings.LastIndexByte(given, '/')+1:]
	}
	if !ssmdoc.ValidName(name) || name != given && d.documentARN(name) != given {
		return "", awsproto.SenderError("InvalidDocument", "Document with name %s does not exist.", given)
	}
	return name, nil
}

// existingName is documentName for operations on an existing document.
func (d documentDoor) existingName(given string) (string, error) {
	var v awsproto.Constraints
	v.Require("name", given != "")
	if err := v.Err(); err != nil {
		return "", err
	}
	return d.documentName(given)
}

// documentKeys returns the condition keys of a document as a resource.
func (d documentDoor) documentKeys(ctx context.Context, name string) ([]authz.Key, error) {
	if b := ssmdoc.FindBuiltin(name); b != nil {
		return []authz.Key{authz.One("ssm:DocumentType", b.Type)}, nil
	}
	doc, err := d.Documents.Document(ctx, name)
	if sekisho.IsNotFound(err) {
		return []authz.Key{authz.One("ssm:DocumentType", ssmdoc.TypeSession)}, nil
	}
	if err != nil {
		return nil, err
	}
	return append(authz.ResourceTags("ssm", doc.Tags), authz.One("ssm:DocumentType", doc.Type)), nil
}

// authorizeDocument authorizes an action on a document.
func (d documentDoor) authorizeDocument(ctx context.Context, c *api.Call, action, name string) error {
	keys, err := d.documentKeys(ctx, name)
	if err != nil {
		return err
	}
	return c.Authorize(ctx, action, d.documentARN(name), keys...)
}

// authorizeRule authorizes the creation of a document that says who gets access
// without approval: permission to write access rules is required, too, so that
// permission to write documents is not permission to approve own requests.
func (d documentDoor) authorizeRule(ctx context.Context, c *api.Call, kind, name string) error {
	if kind != ssmdoc.TypeAutoApproval {
		return nil
	}
	return c.Authorize(ctx, "sekisho:PutAccessRule", "arn:aws:sekisho:"+d.Region+":"+d.Account+":access-rule/"+name)
}

// authorizeRuleChange is authorizeRule for a document that may exist.
func (d documentDoor) authorizeRuleChange(ctx context.Context, c *api.Call, name string) error {
	doc, err := d.Documents.Document(ctx, name)
	if sekisho.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	return d.authorizeRule(ctx, c, doc.Type, name)
}

// documentFaults maps the library's errors to AWS's error codes.
var documentFaults = []struct {
	cause error
	name  string
}{
	{doclibrary.ErrVersion, "InvalidDocumentVersion"},
	{doclibrary.ErrNotLatest, "InvalidDocumentVersion"},
	{doclibrary.ErrSameContent, "DuplicateDocumentContent"},
	{doclibrary.ErrVersionName, "DuplicateDocumentVersionName"},
	{doclibrary.ErrVersionLimit, "DocumentVersionLimitExceeded"},
	{doclibrary.ErrOperation, "InvalidDocumentOperation"},
	{doclibrary.ErrDocumentLimit, "DocumentLimitExceeded"},
	{doclibrary.ErrSize, "MaxDocumentSizeExceeded"},
	{doclibrary.ErrTooManyTags, "TooManyTagsError"},
	{doclibrary.ErrShareLimit, "DocumentPermissionLimit"},
	{doclibrary.ErrReserved, "ValidationException"},
	{doclibrary.ErrType, "InvalidDocument"},
	{doclibrary.ErrInvalidContent, "InvalidDocumentContent"},
	{ssmdoc.ErrSchemaVersion, "InvalidDocumentSchemaVersion"},
}

// documentError translates the library's errors into AWS's.
func documentError(err error) error {
	if err == nil || sekisho.CodeOf(err) == sekisho.CodeInternal {
		return err
	}
	for _, f := range documentFaults {
		if errors.Is(err, f.cause) {
			refusal := awsproto.SenderError(f.name, "%s", err)
			refusal.Extra = api.ReasonOf(err)
			return refusal
		}
	}
	if sekisho.IsNotFound(err) {
		return awsproto.SenderError("InvalidDocument", "%s", err)
	}
	return err
}

type documentRequires struct {
	Name string
}

type attachmentsSource struct {
	Key string
}

type createDocumentRequest struct {
	Content        string
	Requires       []documentRequires
	Attachments    []attachmentsSource
	Name           string
	DisplayName    string
	VersionName    string
	DocumentType   string
	DocumentFormat string
	TargetType     string
	Tags           []tag
}

type documentParameter struct {
	Name         string
	Type         string
	Description  string  `json:"Description,omitempty"`
	DefaultValue *string `json:"DefaultValue,omitempty"`
}

type documentDescription struct {
	Hash            string `json:",omitempty"`
	HashType        string `json:",omitempty"`
	Name            string
	DisplayName     string `json:",omitempty"`
	VersionName     string `json:",omitempty"`
	Owner           string
	Author          string         `json:",omitempty"` // of the version
	CreatedDate     awsproto.Epoch `json:",omitzero"`
	Status          string
	DocumentVersion string
	Description     string              `json:",omitempty"`
	Parameters      []documentParameter `json:",omitempty"`
	PlatformTypes   []string
	DocumentType    string
	SchemaVersion   string
	LatestVersion   string
	DefaultVersion  string
	DocumentFormat  string
	TargetType      string `json:",omitempty"`
	Tags            []tag
}

type documentDescriptionAnswer struct{ DocumentDescription documentDescription }

func number(n int64) string { return strconv.FormatInt(n, 10) }

func (d documentDoor) describe(name string, parsed *ssmdoc.Document) documentDescription {
	out := documentDescription{
		Name: name, Status: "Active", Description: parsed.Description, PlatformTypes: parsed.Platforms(),
		DocumentType: parsed.Type, SchemaVersion: parsed.SchemaVersion, Tags: []tag{},
	}
	for _, p := range parsed.Parameters {
		param := documentParameter{Name: p.Name, Type: p.Type, Description: p.Description}
		if p.HasDefault {
			param.DefaultValue = &p.Default
		}
		out.Parameters = append(out.Parameters, param)
	}
	return out
}

func (d documentDoor) describeSaved(s *doclibrary.Saved) documentDescription {
	out := d.describe(s.Name, s.Parsed)
	v := s.Version
	out.Hash, out.HashType, out.Owner, out.CreatedDate = v.Hash(), "Sha256", d.Account, awsproto.NewEpoch(v.CreatedAt)
	out.Author = v.CreatedBy
	out.DisplayName, out.VersionName, out.DocumentVersion, out.DocumentFormat = v.DisplayName, v.VersionName, number(
		v.Number,
	), v.Format
	out.LatestVersion, out.DefaultVersion, out.TargetType = number(
		s.LatestVersion,
	), number(
		s.DefaultVersion,
	), s.TargetType
	out.Tags = append(out.Tags, tagList(s.Tags)...)
	return out
}

func (d documentDoor) describeBuiltin(b *ssmdoc.Builtin) documentDescription {
	out := d.describe(b.Name, b.Document)
	v := doclibrary.Version{Content: b.Content}
	out.Hash, out.HashType, out.Owner, out.DocumentFormat = v.Hash(), "Sha256", b.Owner(), doclibrary.JSON
	out.DocumentVersion, out.LatestVersion, out.DefaultVersion = "1", "1", "1"
	return out
}

// checkText checks the parameters that CreateDocument and UpdateDocument share.
func checkText(v *awsproto.Constraints, content, name, displayName, versionName, format, targetType string) {
	v.Require("content", content != "")
	v.Require("name", name != "")
	if name != "" {
		v.Pattern("name", name, documentNamePattern)
	}
	v.Length("displayName", displayName, 0, 1024)
	v.Pattern("displayName", displayName, displayNamePattern)
	if versionName != "" {
		v.Pattern("versionName", versionName, versionNamePattern)
	}
	if format != "" {
		v.Enum("documentFormat", format, "YAML", "JSON", "TEXT")
	}
	if targetType != "" {
		v.Pattern("targetType", targetType, targetTypePattern)
	}
}

var errTextFormat = awsproto.SenderError("ValidationException",
	"Document format TEXT is not supported. Use JSON or YAML.")

func (d documentDoor) createDocument(
	ctx context.Context,
	c *api.Call,
	in *createDocumentRequest,
) (*documentDescriptionAnswer, error) {
	var v awsproto.Constraints
	checkText(&v, in.Content, in.Name, in.DisplayName, in.VersionName, in.DocumentFormat, in.TargetType)
	if err := v.Err(); err != nil {
		return nil, err
	}
	tags, err := tagSet(in.Tags)
	if err != nil {
		return nil, err
	}
	kind := in.DocumentType
	if kind == "" {
		kind = "Command" // as in AWS
	}
	keys := append(authz.RequestTags(tags), authz.One("ssm:DocumentType", kind))
	if err := c.Authorize(ctx, "ssm:CreateDocument", d.documentARN(in.Name), keys...); err != nil {
		return nil, err
	}
	if len(tags) > 0 {
		if err := c.Authorize(ctx, "ssm:AddTagsToResource", d.documentARN(in.Name), authz.RequestTags(tags)...); err != nil {
			return nil, err
		}
	}
	if err := d.authorizeRule(ctx, c, kind, in.Name); err != nil {
		return nil, err
	}
	switch {
	case kind == "ManualApprovalPolicy":
		return nil, awsproto.SenderError(
			"ValidationException",
			"The document type %s is not supported. Write an access rule (sekisho access rules put).",
			kind,
		)
	case kind != ssmdoc.TypeSession && kind != ssmdoc.TypeCommand && kind != ssmdoc.TypeAutoApproval:
		return nil, awsproto.SenderError(
			"ValidationException",
			"The document type %s is not supported. Use Session, Command or AutoApprovalPolicy "+
				"(aws ssm create-document --document-type Session).",
			kind,
		)
	case in.DocumentFormat == doclibrary.Text && kind != ssmdoc.TypeAutoApproval:
		return nil, errTextFormat
	case len(in.Requires) > 0 || len(in.Attachments) > 0:
		return nil, awsproto.SenderError("ValidationException", "Requires and Attachments are not supported. Omit them.")
	}
	s, err := d.Documents.Create(ctx, doclibrary.Draft{
		Name: in.Name, Type: kind, Content: in.Content, Format: in.DocumentFormat, VersionName: in.VersionName,
		DisplayName: in.DisplayName,
		TargetType:  in.TargetType, Tags: tags, By: c.Principal.ARN,
	})
	if sekisho.CodeOf(err) == sekisho.CodeConflict {
		return nil, awsproto.SenderError("DocumentAlreadyExists", "%s", err)
	}
	if in.DocumentType == "" && errors.Is(err, ssmdoc.ErrSchemaVersion) {
		return nil, awsproto.SenderError(
			"InvalidDocumentSchemaVersion",
			"%s A document is of type Command unless DocumentType says Session (aws ssm create-document --document-type "+
				"Session).",
			err,
		)
	}
	if err != nil {
		return nil, documentError(err)
	}
	out := &documentDescriptionAnswer{d.describeSaved(s)}
	c.Annotate(
		map[string]any{
			"documentDescription": map[string]any{
				"name":            s.Name,
				"documentVersion": "1",
				"hash":            out.DocumentDescription.Hash,
			},
		},
	)
	return out, nil
}

type updateDocumentRequest struct {
	Content         string
	Attachments     []attachmentsSource
	Name            string
	DisplayName     string
	VersionName     string
	DocumentVersion string
	DocumentFormat  string
	TargetType      string
}

func (d documentDoor) updateDocument(
	ctx context.Context,
	c *api.Call,
	in *updateDocumentRequest,
) (*documentDescriptionAnswer, error) {
	var v awsproto.Constraints
	checkText(&v, in.Content, in.Name, in.DisplayName, in.VersionName, in.DocumentFormat, in.TargetType)
	checkVersion(&v, in.DocumentVersion)
	if err := v.Err(); err != nil {
		return nil, err
	}
	if err := d.authorizeDocument(ctx, c, "ssm:UpdateDocument", in.Name); err != nil {
		return nil, err
	}
	if err := d.authorizeRuleChange(ctx, c, in.Name); err != nil {
		return nil, err
	}
	if len(in.Attachments) > 0 {
		return nil, awsproto.SenderError("ValidationException", "Attachments are not supported. Omit them.")
	}
	s, err := d.Documents.Update(ctx, doclibrary.Draft{
		Name: in.Name, Content: in.Content, Format: in.DocumentFormat, VersionName: in.VersionName,
		DisplayName: in.DisplayName,
		TargetType:  in.TargetType, By: c.Principal.ARN,
	}, in.DocumentVersion)
	if err != nil {
		return nil, documentError(err)
	}
	out := &documentDescriptionAnswer{d.describeSaved(s)}
	c.Annotate(map[string]any{"documentDescription": map[string]any{
		"name": s.Name, "documentVersion": out.DocumentDescription.DocumentVersion, "hash": out.DocumentDescription.Hash,
	}})
	return out, nil
}

func checkVersion(v *awsproto.Constraints, version string) {
	if version != "" {
		v.Pattern("documentVersion", version, versionPattern)
	}
}

type updateDefaultRequest struct {
	Name            string
	DocumentVersion string
}

type updateDefaultAnswer struct {
	Description struct {
		Name               string
		DefaultVersion     string
		DefaultVersionName string `json:",omitempty"`
	}
}

func (d documentDoor) updateDocumentDefaultVersion(
	ctx context.Context,
	c *api.Call,
	in *updateDefaultRequest,
) (*updateDefaultAnswer, error) {
	var v awsproto.Constraints
	v.Require("name", in.Name != "")
	v.Require("documentVersion", in.DocumentVersion != "")
	if in.Name != "" {
		v.Pattern("name", in.Name, documentNamePattern)
	}
	if in.DocumentVersion != "" {
		v.Pattern("documentVersion", in.DocumentVersion, versionNumber)
	}
	if err := v.Err(); err != nil {
		return nil, err
	}
	if err := d.authorizeDocument(ctx, c, "ssm:UpdateDocumentDefaultVersion", in.Name); err != nil {
		return nil, err
	}
	if err := d.authorizeRuleChange(ctx, c, in.Name); err != nil {
		return nil, err
	}
	n, err := strconv.ParseInt(in.DocumentVersion, 10, 64)
	if err != nil {
		return nil, err
	}
	version, err := d.Documents.SetDefault(ctx, in.Name, n)
	if err != nil {
		return nil, documentError(err)
	}
	out := new(updateDefaultAnswer)
	out.Description.Name, out.Description.DefaultVersion, out.Description.DefaultVersionName = in.Name, in.DocumentVersion,
		version.VersionName
	return out, nil
}

type documentVersionRequest struct {
	Name            string
	VersionName     string
	DocumentVersion string
	DocumentFormat  string
}

// read returns the document version that a request names, of a built-in or a saved document.
func (d documentDoor) read(
	ctx context.Context,
	c *api.Call,
	action string,
	in *documentVersionRequest,
) (*ssmdoc.Builtin, *doclibrary.Saved, error) {
	var v awsproto.Constraints
	checkVersion(&v, in.DocumentVersion)
	if in.VersionName != "" {
		v.Pattern("versionName", in.VersionName, versionNamePattern)
	}
	if in.DocumentFormat != "" {
		v.Enum("documentFormat", in.DocumentFormat, "YAML", "JSON", "TEXT")
	}
	if err := v.Err(); err != nil {
		return nil, nil, err
	}
	name, err := d.existingName(in.Name)
	if err != nil {
		return nil, nil, err
	}
	if err := d.authorizeDocument(ctx, c, action, name); err != nil {
		return nil, nil, err
	}
	if b := ssmdoc.FindBuiltin(name); b != nil {
		if in.VersionName != "" ||
			!slices.Contains([]string{"", "1", doclibrary.Latest, doclibrary.DefaultName}, in.DocumentVersion) {
			return nil, nil, awsproto.SenderError("InvalidDocumentVersion", "%s has version 1 only.", name)
		}
		return b, nil, nil
	}
	s, err := d.Documents.Find(ctx, name, in.DocumentVersion, in.VersionName)
	return nil, s, documentError(err)
}

type getDocumentAnswer struct {
	Name            string
	CreatedDate     awsproto.Epoch `json:",omitzero"`
	DisplayName     string         `json:",omitempty"`
	VersionName     string         `json:",omitempty"`
	DocumentVersion string
	Status          string
	Content         string
	DocumentType    string
	DocumentFormat  string
}

func (d documentDoor) getDocument(
	ctx context.Context, c *api.Call, in *documentVersionRequest,
) (*getDocumentAnswer, error) {
	b, s, err := d.read(ctx, c, "ssm:GetDocument", in)
	if err != nil {
		return nil, err
	}
	out := &getDocumentAnswer{Status: "Active", DocumentFormat: in.DocumentFormat}
	if out.DocumentFormat == "" {
		out.DocumentFormat = doclibrary.JSON
	}
	if out.DocumentFormat == "TEXT" {
		return nil, errTextFormat
	}
	if b != nil {
		out.Name, out.DocumentVersion, out.DocumentType = b.Name, "1", b.Type
		out.Content, err = d.Documents.BuiltinText(b, out.DocumentFormat)
		return out, err
	}
	v := s.Version
	out.DocumentType = s.Type
	out.Name, out.DocumentVersion, out.DisplayName, out.VersionName = s.Name, number(
		v.Number,
	), v.DisplayName, v.VersionName
	out.CreatedDate = awsproto.NewEpoch(v.CreatedAt)
	out.Content, err = d.Documents.Text(v, out.DocumentFormat)
	return out, err
}

type describeDocumentAnswer struct{ Document documentDescription }

func (d documentDoor) describeDocument(
	ctx context.Context,
	c *api.Call,
	in *documentVersionRequest,
) (*describeDocumentAnswer, error) {
	b, s, err := d.read(ctx, c, "ssm:DescribeDocument", in)
	if err != nil {
		return nil, err
	}
	if b != nil {
		return &describeDocumentAnswer{d.describeBuiltin(b)}, nil
	}
	return &describeDocumentAnswer{d.describeSaved(s)}, nil
}

type listDocumentVersionsRequest struct {
	Name       string
	MaxResults *int64
	NextToken  string
}

type documentVersionInfo struct {
	Name             string
	DisplayName      string `json:",omitempty"`
	DocumentVersion  string
	VersionName      string         `json:",omitempty"`
	CreatedDate      awsproto.Epoch `json:",omitzero"`
	IsDefaultVersion bool
	DocumentFormat   string
	Status           string
	// Beyond AWS's shape: who made the version.
	Author string `json:",omitempty"`
}

type listDocumentVersionsAnswer struct {
	DocumentVersions []documentVersionInfo
	NextToken        string `json:",omitempty"`
}

// maxDocumentPage is the largest page of documents and of versions.
const maxDocumentPage = 50

func pageSize(v *awsproto.Constraints, n *int64, most int64) int {
	if n == nil {
		return 0
	}
	v.Range("maxResults", *n, 1, most)
	return int(*n)
}

func (d documentDoor) listDocumentVersions(
	ctx context.Context,
	c *api.Call,
	in *listDocumentVersionsRequest,
) (*listDocumentVersionsAnswer, error) {
	var v awsproto.Constraints
	limit := pageSize(&v, in.MaxResults, maxDocumentPage)
	if err := v.Err(); err != nil {
		return nil, err
	}
	name, err := d.existingName(in.Name)
	if err != nil {
		return nil, err
	}
	if err := d.authorizeDocument(ctx, c, "ssm:ListDocumentVersions", name); err != nil {
		return nil, err
	}
	if ssmdoc.FindBuiltin(name) != nil {
		return &listDocumentVersionsAnswer{DocumentVersions: []documentVersionInfo{{
			Name: name, DocumentVersion: "1", IsDefaultVersion: true, DocumentFormat: doclibrary.JSON, Status: "Active",
		}}}, nil
	}
	doc, err := d.Documents.Document(ctx, name)
	if err != nil {
		return nil, documentError(err)
	}
	all, err := d.Documents.Versions(ctx, name)
	if err != nil {
		return nil, documentError(err)
	}
	all, next, err := page(all, placeOfVersion, in.NextToken, limit, maxDocumentPage)
	if err != nil {
		return nil, err
	}
	out := &listDocumentVersionsAnswer{DocumentVersions: []documentVersionInfo{}, NextToken: next}
	for _, v := range all {
		out.DocumentVersions = append(out.DocumentVersions, documentVersionInfo{
			Name: name, DisplayName: v.DisplayName, DocumentVersion: number(v.Number), VersionName: v.VersionName,
			CreatedDate: awsproto.NewEpoch(
				v.CreatedAt,
			), IsDefaultVersion: v.Number == doc.DefaultVersion, DocumentFormat: v.Format, Status: "Active",
			Author: v.CreatedBy,
		})
	}
	return out, nil
}

// placeOfVersion returns a sort key that puts the newest version first.
func placeOfVersion(v *doclibrary.Version) string { return descending(v.Number) }

type deleteDocumentRequest struct {
	Name            string
	DocumentVersion string
	VersionName     string
	Force           bool
}

func (d documentDoor) deleteDocument(ctx context.Context, c *api.Call, in *deleteDocumentRequest) (*struct{}, error) {
	var v awsproto.Constraints
	checkVersion(&v, in.DocumentVersion)
	if in.VersionName != "" {
		v.Pattern("versionName", in.VersionName, versionNamePattern)
	}
	if err := v.Err(); err != nil {
		return nil, err
	}
	name, err := d.existingName(in.Name)
	if err != nil {
		return nil, err
	}
	if err := d.authorizeDocument(ctx, c, "ssm:DeleteDocument", name); err != nil {
		return nil, err
	}
	return &struct{}{}, documentError(d.Documents.Delete(ctx, name, in.DocumentVersion, in.VersionName))
}

type modifyPermissionRequest struct {
	Name                  string
	PermissionType        string
	AccountIdsToAdd       []string
	AccountIdsToRemove    []string
	SharedDocumentVersion string
}

func checkPermission(name, kind string) error {
	var v awsproto.Constraints
	v.Require("name", name != "")
	v.Require("permissionType", kind != "")
	if name != "" {
		v.Pattern("name", name, documentNamePattern)
	}
	if err := v.Err(); err != nil {
		return err
	}
	if kind != "Share" {
		return awsproto.SenderError("InvalidPermissionType", "The permission type %q is not supported. Use Share.", kind)
	}
	return nil
}

func (d documentDoor) modifyDocumentPermission(
	ctx context.Context,
	c *api.Call,
	in *modifyPermissionRequest,
) (*struct{}, error) {
	if err := checkPermission(in.Name, in.PermissionType); err != nil {
		return nil, err
	}
	var v awsproto.Constraints
	v.Count("accountIdsToAdd", len(in.AccountIdsToAdd), 0, 20)
	v.Count("accountIdsToRemove", len(in.AccountIdsToRemove), 0, 20)
	for _, a := range slices.Concat(in.AccountIdsToAdd, in.AccountIdsToRemove) {
		v.Pattern("accountIds.member", a, accountPattern)
	}
	version := in.SharedDocumentVersion
	if version == "" {
		version = doclibrary.DefaultName
	}
	v.Enum("sharedDocumentVersion", version, doclibrary.Latest, doclibrary.DefaultName, "$ALL")
	if err := v.Err(); err != nil {
		return nil, err
	}
	if err := d.authorizeDocument(ctx, c, "ssm:ModifyDocumentPermission", in.Name); err != nil {
		return nil, err
	}
	if err := d.settings.mayShare(ctx, in.AccountIdsToAdd); err != nil {
		return nil, err
	}
	return &struct{}{}, documentError(
		d.Documents.Share(ctx, in.Name, version, in.AccountIdsToAdd, in.AccountIdsToRemove),
	)
}

type describePermissionRequest struct {
	Name           string
	PermissionType string
	MaxResults     *int64
	NextToken      string
}

type accountSharingInfo struct {
	AccountID             string `json:"AccountId"`
	SharedDocumentVersion string
}

type describePermissionAnswer struct {
	AccountIDs             []string `json:"AccountIds"`
	AccountSharingInfoList []accountSharingInfo
	NextToken              string `json:",omitempty"`
}

func (d documentDoor) describeDocumentPermission(
	ctx context.Context,
	c *api.Call,
	in *describePermissionRequest,
) (*describePermissionAnswer, error) {
	if err := checkPermission(in.Name, in.PermissionType); err != nil {
		return nil, err
	}
	var v awsproto.Constraints
	limit := pageSize(&v, in.MaxResults, 200)
	if err := v.Err(); err != nil {
		return nil, err
	}
	if err := d.authorizeDocument(ctx, c, "ssm:DescribeDocumentPermission", in.Name); err != nil {
		return nil, err
	}
	if ssmdoc.FindBuiltin(in.Name) != nil {
		return nil, awsproto.SenderError(
			"InvalidDocumentOperation",
			"%s is a built-in document and cannot be shared.",
			in.Name,
		)
	}
	doc, err := d.Documents.Document(ctx, in.Name)
	if err != nil {
		return nil, documentError(err)
	}
	accounts, next, err := page(
		slices.Sorted(maps.Keys(doc.Shares)),
		func(a string) string { return a },
		in.NextToken,
		limit,
		200,
	)
	if err != nil {
		return nil, err
	}
	out := &describePermissionAnswer{
		AccountIDs:             []string{},
		AccountSharingInfoList: []accountSharingInfo{},
		NextToken:              next,
	}
	for _, a := range accounts {
		out.AccountIDs = append(out.AccountIDs, a)
		out.AccountSharingInfoList = append(out.AccountSharingInfoList, accountSharingInfo{a, doc.Shares[a]})
	}
	return out, nil
}
