// Package doclibrary manages session and command documents: built-in documents and users'
// documents, with their versions, default version, tags and shares.
package doclibrary

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"sekisho"
	"sekisho/internal/session/autoapproval"
	"sekisho/internal/ssmdoc"
)

// Formats of a document's text.
const (
	JSON = "JSON"
	YAML = "YAML"
	Text = "TEXT"
)

// Names of versions that are not numbers.
const (
	Latest      = "$LATEST"
	DefaultName = "$DEFAULT"
)

// Document is a user's document.
type Document struct {
	Name           string
	Type           string // a type of package ssmdoc
	TargetType     string
	DefaultVersion int64
	LatestVersion  int64 // the highest version number ever used
	CreatedAt      time.Time
	Tags           map[string]string
	// Shares maps the accounts that can use it, "all" for everyone, to the version shared with
	// them.
	Shares map[string]string
}

// Version is one version of a document. It is immutable.
type Version struct {
	Document    string
	Number      int64
	VersionName string
	DisplayName string
	Format      string // of Content
	Content     string // as it was given
	CreatedAt   time.Time
	CreatedBy   string // ARN
}

// Hash is the SHA-256 of the content, in hexadecimal.
func (v *Version) Hash() string {
	h := sha256.Sum256([]byte(v.Content))
	return hex.EncodeToString(h[:])
}

// Store keeps documents.
type Store interface {
	// CreateDocument stores a new document and its first version. If the name is taken, the error
	// has CodeConflict.
	CreateDocument(ctx context.Context, d *Document, v *Version) error
	Document(ctx context.Context, name string) (*Document, error)
	// Documents returns all documents, sorted by name.
	Documents(ctx context.Context) ([]*Document, error)
	// UpdateDocument reads a document, calls change to modify it, and atomically stores it and the
	// version that change returns, if any. If the document already has a version of that name, the
	// error has CodeConflict.
	UpdateDocument(ctx context.Context, name string, change func(d *Document) (*Version, error)) error
	// DeleteDocument deletes a document and its versions.
	DeleteDocument(ctx context.Context, name string) error

	DocumentVersion(ctx context.Context, name string, number int64) (*Version, error)
	// DocumentVersions returns the versions of a document, newest first.
	DocumentVersions(ctx context.Context, name string) ([]*Version, error)
	// DeleteDocumentVersion deletes a version other than the default.
	DeleteDocumentVersion(ctx context.Context, name string, number int64) error
}

// Texts converts between the formats, keeping the order of members.
type Texts interface {
	YAMLToJSON(text []byte) ([]byte, error)
	JSONToYAML(text []byte) ([]byte, error)
}

// Errors that callers distinguish; errors of this package wrap them.
var (
	ErrVersion        = errors.New("no such version")
	ErrSameContent    = errors.New("content as before")
	ErrVersionName    = errors.New("version name taken")
	ErrVersionLimit   = errors.New("too many versions")
	ErrOperation      = errors.New("not possible with this document")
	ErrDocumentLimit  = errors.New("too many documents")
	ErrSize           = errors.New("too large")
	ErrTooManyTags    = errors.New("too many tags")
	ErrShareLimit     = errors.New("too many shares")
	ErrReserved       = errors.New("reserved name")
	ErrNotLatest      = errors.New("not the latest version")
	ErrInvalidContent = errors.New("invalid content")
	ErrType           = errors.New("another type of document")
)

// fault returns an error that wraps cause.
func fault(cause error, code sekisho.Code, format string, args ...any) *sekisho.Error {
	e := sekisho.Errorf(code, format, args...)
	e.Err = cause
	return e
}

// AWS's limits.
const (
	maxDocuments = 500
	maxVersions  = 1000
	maxShares    = 1000
	maxTags      = 50
)

// Places checks the destinations of session logs.
type Places interface {
	// CheckLogs returns an error, with a remedy, if logs cannot be delivered to the destinations in
	// s.
	CheckLogs(ctx context.Context, s *ssmdoc.Settings) error
}

// Library is safe for concurrent use.
type Library struct {
	store  Store
	texts  Texts
	places Places
	now    func() time.Time
	parsed parsedDocuments
}

// New returns a Library. If places is nil, log destinations are not checked; if now is nil, it is
// time.Now.
func New(store Store, texts Texts, places Places, now func() time.Time) *Library {
	if now == nil {
		now = time.Now
	}
	return &Library{store: store, texts: texts, places: places, now: now}
}

// Draft is a document to be saved.
type Draft struct {
	Name        string
	Type        string // of a new document
	Content     string
	Format      string // JSON if empty
	VersionName string
	DisplayName string
	TargetType  string
	Tags        map[string]string // of a new document
	By          string            // ARN
}

// parse parses and checks a document.
func (l *Library) parse(kind, name, format, content string) (*ssmdoc.Document, error) {
	if len(content) > ssmdoc.MaxSize {
		return nil, fault(
			ErrSize,
			sekisho.CodeInvalid,
			"The document has %d bytes; it may have %d.",
			len(content),
			ssmdoc.MaxSize,
		)
	}
	if kind == ssmdoc.TypeAutoApproval {
		if _, err := autoapproval.Parse(content); err != nil {
			return nil, fault(ErrInvalidContent, sekisho.CodeInvalid, "The document is invalid: %s.", err)
		}
		return &ssmdoc.Document{Type: kind}, nil
	}
	text := []byte(content)
	if format == YAML {
		var err error
		if text, err = l.texts.YAMLToJSON(text); err != nil {
			return nil, fault(ErrInvalidContent, sekisho.CodeInvalid, "The document is not valid YAML: %v.", err)
		}
	}
	parse := ssmdoc.Parse
	if kind == ssmdoc.TypeCommand {
		parse = ssmdoc.ParseCommand
	}
	d, err := parse(text)
	if err == nil && name == ssmdoc.Default {
		err = d.CheckPreferences()
	}
	if err != nil && !errors.Is(err, ssmdoc.ErrSchemaVersion) {
		refused := fault(ErrInvalidContent, sekisho.CodeInvalid, "%s", err)
		if e, ok := errors.AsType[*sekisho.Error](err); ok {
			refused = refused.WithReason(e.Reason)
		}
		err = refused
	}
	return d, err
}

// draft checks a document that is to be saved. A saved document stays valid even if its bucket is
// deleted.
func (l *Library) draft(ctx context.Context, in *Draft) (*ssmdoc.Document, error) {
	switch {
	case in.Type == ssmdoc.TypeAutoApproval:
		in.Format = Text // whatever the request says: it is Cedar
	case in.Format == Text:
		return nil, fault(ErrInvalidContent, sekisho.CodeInvalid,
			"A document of type %s cannot have the format TEXT: use JSON or YAML.", in.Type)
	}
	if in.Name == ssmdoc.Default && in.Type != ssmdoc.TypeSession {
		return nil, fault(
			ErrInvalidContent,
			sekisho.CodeInvalid,
			"The document %s contains the account's session preferences: its type must be %s.",
			ssmdoc.Default,
			ssmdoc.TypeSession,
		)
	}
	d, err := l.parse(in.Type, in.Name, in.Format, in.Content)
	if err != nil || in.Name != ssmdoc.Default || l.places == nil {
		return d, err
	}
	s, err := d.Settings()
	if err == nil {
		err = l.places.CheckLogs(ctx, &s)
	}
	if err != nil && sekisho.CodeOf(err) != sekisho.CodeInternal {
		refused := fault(ErrInvalidContent, sekisho.CodeInvalid, "%s", err)
		if e, ok := errors.AsType[*sekisho.Error](err); ok {
			refused = refused.WithReason(e.Reason)
		}
		err = refused
	}
	return d, err
}

// Create saves a new document. Its version 1 is the default version.
func (l *Library) Create(ctx context.Context, in Draft) (*Saved, error) {
	if in.Type == "" {
		in.Type = ssmdoc.TypeSession
	}
	if ssmdoc.Reserved(in.Name) {
		return nil, fault(
			ErrReserved,
			sekisho.CodeInvalid,
			"The name %q is reserved: names that begin with AWS-, amazon, amzn or Sekisho- are for built-in documents.",
			in.Name,
		)
	}
	if in.Format == "" {
		in.Format = JSON
	}
	parsed, err := l.draft(ctx, &in)
	if err != nil {
		return nil, err
	}
	all, err := l.store.Documents(ctx)
	if err != nil {
		return nil, err
	}
	if len(all) >= maxDocuments {
		return nil, fault(
			ErrDocumentLimit,
			sekisho.CodeLimit,
			"The account already has the maximum of %d documents.",
			len(all),
		)
	}
	if i := slices.IndexFunc(all, func(d *Document) bool { return d.Type == in.Type }); i >= 0 &&
		in.Type == ssmdoc.TypeAutoApproval {
		return nil, fault(
			ErrDocumentLimit,
			sekisho.CodeLimit,
			"The account already has the one auto-approval policy that it can have: update or delete %s.",
			all[i].Name,
		)
	}
	now := l.now()
	d := &Document{
		Name:           in.Name,
		Type:           in.Type,
		TargetType:     in.TargetType,
		DefaultVersion: 1,
		LatestVersion:  1,
		CreatedAt:      now,
		Tags:           in.Tags,
	}
	v := in.version(1, now)
	if err := l.store.CreateDocument(ctx, d, v); err != nil {
		if sekisho.CodeOf(err) == sekisho.CodeConflict {
			return nil, sekisho.Errorf(sekisho.CodeConflict, "Document with name %s already exists.", in.Name)
		}
		return nil, err
	}
	return &Saved{d, v, parsed}, nil
}

func (in *Draft) version(number int64, now time.Time) *Version {
	return &Version{
		Document: in.Name, Number: number, VersionName: in.VersionName, DisplayName: in.DisplayName,
		Format: in.Format, Content: in.Content, CreatedAt: now, CreatedBy: in.By,
	}
}

// Saved is a version of a user's document.
type Saved struct {
	*Document
	Version *Version
	Parsed  *ssmdoc.Document
}

// Update saves a new version of a document. base is the version that it replaces, which must be the
// latest. The default version does not change.
func (l *Library) Update(ctx context.Context, in Draft, base string) (*Saved, error) {
	if err := l.ours(in.Name); err != nil {
		return nil, err
	}
	var out *Saved
	versions, err := l.store.DocumentVersions(ctx, in.Name)
	if err != nil {
		return nil, missing(err, in.Name)
	}
	if in.Format == "" {
		in.Format = JSON
	}
	of, err := l.store.Document(ctx, in.Name)
	if err != nil {
		return nil, missing(err, in.Name)
	}
	in.Type = of.Type
	parsed, err := l.draft(ctx, &in)
	if err != nil {
		return nil, err
	}
	if len(versions) >= maxVersions {
		return nil, fault(
			ErrVersionLimit,
			sekisho.CodeLimit,
			"%s already has the maximum of %d versions. Delete old ones.",
			in.Name,
			len(versions),
		)
	}
	newest := versions[0]
	err = l.store.UpdateDocument(ctx, in.Name, func(d *Document) (*Version, error) {
		if d.LatestVersion != newest.Number &&
			slices.ContainsFunc(versions, func(v *Version) bool { return v.Number == d.LatestVersion }) {
			return nil, sekisho.Errorf(sekisho.CodeConflict, "%s was changed by somebody else at the same time.", in.Name)
		}
		switch base {
		case "", Latest, strconv.FormatInt(newest.Number, 10):
		case DefaultName:
			if d.DefaultVersion != newest.Number {
				return nil, fault(
					ErrNotLatest,
					sekisho.CodeInvalid,
					"Only the latest version, %d, can be updated: the default version is %d.",
					newest.Number,
					d.DefaultVersion,
				)
			}
		default:
			return nil, fault(
				ErrNotLatest,
				sekisho.CodeInvalid,
				"Only the latest version, %d, can be updated: not %s.",
				newest.Number,
				base,
			)
		}
		if newest.Content == in.Content && newest.Format == in.Format {
			return nil, fault(
				ErrSameContent,
				sekisho.CodeConflict,
				"The content is the same as that of version %d; nothing was saved.",
				newest.Number,
			)
		}
		if in.TargetType != "" {
			d.TargetType = in.TargetType
		}
		d.LatestVersion++
		if in.Name == ssmdoc.Default {
			// AWS's guide to changing the preferences ends with UpdateDocument, so sessions must
			// use the new version at once.
			d.DefaultVersion = d.LatestVersion
		}
		v := in.version(d.LatestVersion, l.now())
		if v.DisplayName == "" {
			v.DisplayName = newest.DisplayName
		}
		out = &Saved{d, v, parsed}
		return v, nil
	})
	if sekisho.CodeOf(err) == sekisho.CodeConflict && out != nil {
		return nil, fault(
			ErrVersionName,
			sekisho.CodeConflict,
			"%s already has a version named %s.",
			in.Name,
			in.VersionName,
		)
	}
	if err != nil {
		return nil, missing(err, in.Name)
	}
	return out, nil
}

// ours refuses changes to built-in documents.
func (l *Library) ours(name string) error {
	if ssmdoc.FindBuiltin(name) != nil {
		return fault(ErrOperation, sekisho.CodeInvalid, "%s is a built-in document and cannot be changed.", name)
	}
	return nil
}

// missing translates a store's not-found error.
func missing(err error, name string) error {
	if sekisho.IsNotFound(err) && !errors.Is(err, ErrVersion) {
		return sekisho.Errorf(sekisho.CodeNotFound, "Document with name %s does not exist.", name)
	}
	return err
}

// SetDefault makes a version the default, with which sessions are started.
func (l *Library) SetDefault(ctx context.Context, name string, number int64) (*Version, error) {
	if err := l.ours(name); err != nil {
		return nil, err
	}
	v, err := l.store.DocumentVersion(ctx, name, number)
	if sekisho.IsNotFound(err) {
		if _, err := l.store.Document(ctx, name); err != nil {
			return nil, missing(err, name)
		}
		return nil, noVersion(name, strconv.FormatInt(number, 10))
	}
	if err != nil {
		return nil, err
	}
	err = l.store.UpdateDocument(ctx, name, func(d *Document) (*Version, error) {
		d.DefaultVersion = number
		return nil, nil
	})
	return v, missing(err, name)
}

func noVersion(name, version string) error {
	return fault(ErrVersion, sekisho.CodeNotFound, "%s has no version %s.", name, version)
}

// Find returns a version of a user's document: the one called version (a number, Latest,
// DefaultName, or "" for the default), or the one whose version name is versionName.
func (l *Library) Find(ctx context.Context, name, version, versionName string) (*Saved, error) {
	d, err := l.store.Document(ctx, name)
	if err != nil {
		return nil, missing(err, name)
	}
	v, err := l.version(ctx, d, version, versionName)
	if err != nil {
		return nil, err
	}
	parsed, err := l.parsed.get(d.Type, name, v, func() (*ssmdoc.Document, error) {
		return l.parse(d.Type, name, v.Format, v.Content)
	})
	if err != nil {
		// It was valid when it was saved.
		return nil, sekisho.Errorf(sekisho.CodeInternal, "version %d of document %s: %w", v.Number, name, err)
	}
	return &Saved{d, v, parsed}, nil
}

func (l *Library) version(ctx context.Context, d *Document, version, versionName string) (*Version, error) {
	number := d.DefaultVersion
	if versionName != "" || version == Latest {
		all, err := l.store.DocumentVersions(ctx, d.Name)
		if err != nil {
			return nil, err
		}
		i := 0
		if versionName != "" {
			i = slices.IndexFunc(all, func(v *Version) bool { return v.VersionName == versionName })
		}
		if i < 0 || i >= len(all) {
			return nil, noVersion(d.Name, "named "+versionName)
		}
		if n := strconv.FormatInt(all[i].Number, 10); versionName != "" && version != "" && version != n &&
			version != Latest {
			return nil, noVersion(d.Name, version+" named "+versionName)
		}
		return all[i], nil
	}
	if version != "" && version != DefaultName {
		var err error
		if number, err = strconv.ParseInt(version, 10, 64); err != nil {
			return nil, noVersion(d.Name, version)
		}
	}
	v, err := l.store.DocumentVersion(ctx, d.Name, number)
	if sekisho.IsNotFound(err) {
		return nil, noVersion(d.Name, version)
	}
	return v, err
}

// Document returns a user's document.
func (l *Library) Document(ctx context.Context, name string) (*Document, error) {
	d, err := l.store.Document(ctx, name)
	return d, missing(err, name)
}

// Documents returns the users' documents, sorted by name.
func (l *Library) Documents(ctx context.Context) ([]*Document, error) { return l.store.Documents(ctx) }

// Versions returns the versions of a user's document, newest first.
func (l *Library) Versions(ctx context.Context, name string) ([]*Version, error) {
	all, err := l.store.DocumentVersions(ctx, name)
	return all, missing(err, name)
}

// Text returns v's content in a format; "" means JSON.
func (l *Library) Text(v *Version, format string) (string, error) {
	if format == "" {
		format = JSON
	}
	return l.convert(v.Content, v.Format, format)
}

// BuiltinText returns the content of a built-in document.
func (l *Library) BuiltinText(b *ssmdoc.Builtin, format string) (string, error) {
	return l.convert(b.Content, JSON, format)
}

func (l *Library) convert(content, from, to string) (string, error) {
	switch {
	case from == YAML && to == JSON:
		b, err := l.texts.YAMLToJSON([]byte(content))
		return string(b), err
	case from == JSON && to == YAML:
		b, err := l.texts.JSONToYAML([]byte(content))
		return string(b), err
	}
	return content, nil
}

// Delete deletes a document or, if one is named, one version. It does not delete a shared document
// or the default version.
func (l *Library) Delete(ctx context.Context, name, version, versionName string) error {
	if err := l.ours(name); err != nil {
		return err
	}
	d, err := l.store.Document(ctx, name)
	if err != nil {
		return missing(err, name)
	}
	if version == "" && versionName == "" {
		if len(d.Shares) > 0 {
			return fault(ErrOperation, sekisho.CodeInvalid, "%s is shared. Stop sharing it before you delete it.", name)
		}
		return missing(l.store.DeleteDocument(ctx, name), name)
	}
	v, err := l.version(ctx, d, version, versionName)
	if err != nil {
		return err
	}
	if v.Number == d.DefaultVersion {
		return fault(
			ErrOperation,
			sekisho.CodeInvalid,
			"Version %d is the default version of %s. Make another one the default first.",
			v.Number,
			name,
		)
	}
	return missing(l.store.DeleteDocumentVersion(ctx, name, v.Number), name)
}

// Share adds and removes accounts that can use a document; version is the version shared with them.
func (l *Library) Share(ctx context.Context, name, version string, add, remove []string) error {
	if err := l.ours(name); err != nil {
		return err
	}
	err := l.store.UpdateDocument(ctx, name, func(d *Document) (*Version, error) {
		if d.Shares == nil {
			d.Shares = map[string]string{}
		}
		for _, a := range add {
			d.Shares[strings.ToLower(a)] = version
		}
		for _, a := range remove {
			delete(d.Shares, strings.ToLower(a))
		}
		if len(d.Shares) > maxShares {
			return nil, fault(
				ErrShareLimit,
				sekisho.CodeLimit,
				"A document can be shared with at most %d accounts.",
				maxShares,
			)
		}
		return nil, nil
	})
	return missing(err, name)
}

// Tag sets and removes tags of a document.
func (l *Library) Tag(ctx context.Context, name string, set map[string]string, remove []string) error {
	if err := l.ours(name); err != nil {
		return err
	}
	err := l.store.UpdateDocument(ctx, name, func(d *Document) (_ *Version, err error) {
		d.Tags, err = Retag(d.Tags, set, remove)
		return nil, err
	})
	return missing(err, name)
}

// Retag returns tags with some set and others removed.
func Retag(tags, set map[string]string, remove []string) (map[string]string, error) {
	out := make(map[string]string, len(tags)+len(set))
	folded := make(map[string]string, len(tags))
	for k, v := range tags {
		out[k] = v
	}
	for _, k := range remove {
		delete(out, k)
	}
	for k := range out {
		folded[strings.ToLower(k)] = k
	}
	for k, v := range set {
		// Condition keys ignore case, so two such tags would be indistinguishable.
		if other, ok := folded[strings.ToLower(k)]; ok && other != k {
			return nil, sekisho.Errorf(
				sekisho.CodeInvalid,
				"The existing tag key %q differs from %q only in letter case.",
				other,
				k,
			)
		}
		out[k] = v
	}
	if len(out) > maxTags {
		return nil, fault(ErrTooManyTags, sekisho.CodeLimit, "A resource can have at most %d tags.", maxTags)
	}
	return out, nil
}

// SessionDocument is the document of a session to be started.
type SessionDocument struct {
	Name    string
	Version string // number; empty for a built-in document
	*ssmdoc.Document
	// Account is the document with the account's preferences; nil if none have been saved.
	Account *ssmdoc.Document
}

// ForSession returns the default version of the document called name or, if name is empty, of the
// account's preferences.
func (l *Library) ForSession(ctx context.Context, name string) (*SessionDocument, error) {
	if name == "" {
		name = ssmdoc.Default
	}
	account, err := l.Find(ctx, ssmdoc.Default, "", "")
	if err != nil && !sekisho.IsNotFound(err) {
		return nil, err
	}
	out := &SessionDocument{Name: name}
	if err == nil {
		out.Account = account.Parsed
	}
	if b := ssmdoc.FindBuiltin(name); b != nil {
		out.Document = b.Document
		return out, mustBe(b.Document, name, ssmdoc.TypeSession)
	}
	if name == ssmdoc.Default {
		if out.Account == nil {
			out.Document = ssmdoc.Unsaved()
			return out, nil
		}
		out.Document, out.Version = account.Parsed, strconv.FormatInt(account.Version.Number, 10)
		return out, nil
	}
	d, err := l.Find(ctx, name, "", "")
	if err != nil {
		return nil, err
	}
	out.Document, out.Version = d.Parsed, strconv.FormatInt(d.Version.Number, 10)
	return out, mustBe(d.Parsed, name, ssmdoc.TypeSession)
}

// AutoApproval returns the default version of the account's auto-approval
// policy and its name; nil if there is none.
func (l *Library) AutoApproval(ctx context.Context) (p *autoapproval.Policy, name string, err error) {
	all, err := l.store.Documents(ctx)
	if err != nil {
		return nil, "", err
	}
	i := slices.IndexFunc(all, func(d *Document) bool { return d.Type == ssmdoc.TypeAutoApproval })
	if i < 0 {
		return nil, "", nil
	}
	s, err := l.Find(ctx, all[i].Name, "", "")
	if err != nil {
		return nil, "", err
	}
	p, err = autoapproval.Parse(s.Version.Content)
	return p, s.Name, err
}

// mustBe refuses a document of the wrong type.
func mustBe(d *ssmdoc.Document, name, kind string) error {
	switch {
	case d.Type == kind:
		return nil
	case d.Type == ssmdoc.TypeAutoApproval:
		return fault(ErrType, sekisho.CodeInvalid, "The document %s is an auto-approval policy, not of type %s.", name, kind)
	case kind == ssmdoc.TypeSession:
		return fault(
			ErrType,
			sekisho.CodeInvalid,
			"The document %s is of type %s: send it with SendCommand. It cannot start a session.",
			name,
			d.Type,
		)
	}
	return fault(
		ErrType,
		sekisho.CodeInvalid,
		"The document %s is of type %s: it starts sessions and cannot be sent as a command.",
		name,
		d.Type,
	)
}

// Command is the document of a command to be sent.
type Command struct {
	Name    string
	Version string // number
	Hash    string // SHA-256 of the content, in hexadecimal
	*ssmdoc.Document
}

// ForCommand returns a version of the document called name: see
// [Library.Find].
func (l *Library) ForCommand(ctx context.Context, name, version string) (*Command, error) {
	if b := ssmdoc.FindBuiltin(name); b != nil {
		if version != "" && version != "1" && version != Latest && version != DefaultName {
			return nil, noVersion(name, version)
		}
		v := Version{Content: b.Content}
		return &Command{
				Name:     name,
				Version:  "1",
				Hash:     v.Hash(),
				Document: b.Document,
			}, mustBe(
				b.Document,
				name,
				ssmdoc.TypeCommand,
			)
	}
	s, err := l.Find(ctx, name, version, "")
	if err != nil {
		return nil, err
	}
	return &Command{
		Name: name, Version: strconv.FormatInt(s.Version.Number, 10), Hash: s.Version.Hash(), Document: s.Parsed,
	}, mustBe(s.Parsed, name, ssmdoc.TypeCommand)
}
