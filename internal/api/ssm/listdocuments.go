package ssm

import (
	"context"
	"slices"
	"strings"

	"sekisho/internal/api"
	"sekisho/internal/ssmdoc"
	"sekisho/internal/ssmdoc/doclibrary"
	"sekisho/internal/wire/awsproto"
)

type listDocumentsRequest struct {
	DocumentFilterList []struct {
		Key   string `json:"key"`
		Value string `json:"value"`
	}
	Filters []struct {
		Key    string
		Values []string
	}
	MaxResults *int64
	NextToken  string
}

type documentIdentifier struct {
	Name            string
	CreatedDate     awsproto.Epoch `json:",omitzero"`
	DisplayName     string         `json:",omitempty"`
	Owner           string
	VersionName     string `json:",omitempty"`
	PlatformTypes   []string
	DocumentVersion string
	DocumentType    string
	SchemaVersion   string
	DocumentFormat  string
	TargetType      string `json:",omitempty"`
	Tags            []tag
}

type listDocumentsAnswer struct {
	DocumentIdentifiers []documentIdentifier
	NextToken           string `json:",omitempty"`
}

// listed is a document in the list, before its text is read.
type listed struct {
	name    string
	builtin *ssmdoc.Builtin
	made    *doclibrary.Document
}

func (l *listed) tags() map[string]string {
	if l.made == nil {
		return nil
	}
	return l.made.Tags
}

func (l *listed) kind() string {
	if l.made == nil {
		return l.builtin.Type
	}
	return l.made.Type
}

func (l *listed) targetType() string {
	if l.made == nil {
		return ""
	}
	return l.made.TargetType
}

func (l *listed) shared() bool { return l.made != nil && l.made.Shares["all"] != "" }

// documentFilter is one filter; it passes if any of its values matches.
type documentFilter struct {
	key    string
	values []string
}

// documentOwners are the values of the filter Owner.
var documentOwners = []string{"Self", "Amazon", "Public", "Private", "ThirdParty", "All"}

func (f *documentFilter) check() error {
	key, isTag := strings.CutPrefix(f.key, "tag:")
	if !isTag &&
		!slices.Contains(
			[]string{"Name", "Owner", "PlatformTypes", "DocumentType", "TargetType", "SearchKeyword", "tag-key"},
			f.key,
		) ||
		isTag && key == "" {
		return awsproto.SenderError(
			"InvalidFilterKey",
			"The specified filter key %q is not valid: use Name, Owner, PlatformTypes, DocumentType, TargetType, "+
				"SearchKeyword, tag-key or tag:KEY.",
			f.key,
		)
	}
	if len(f.values) == 0 {
		return awsproto.SenderError("ValidationException", "The filter %s has no values.", f.key)
	}
	for _, v := range f.values {
		if f.key == "Owner" && !slices.Contains(documentOwners, v) {
			return awsproto.SenderError(
				"ValidationException",
				"The filter Owner has no value %q: use one of %s.",
				v,
				strings.Join(documentOwners, ", "),
			)
		}
	}
	return nil
}

// needsText reports whether the filter requires a document's text.
func (f *documentFilter) needsText() bool { return f.key == "PlatformTypes" }

func (f *documentFilter) matches(l *listed) bool {
	for _, v := range f.values {
		var hit bool
		switch f.key {
		case "Name":
			hit = strings.HasPrefix(l.name, v)
		case "SearchKeyword":
			hit = strings.Contains(strings.ToLower(l.name), strings.ToLower(v))
		case "Owner":
			hit = ownedBy(l, v)
		case "DocumentType":
			hit = v == l.kind()
		case "TargetType":
			hit = l.targetType() == v
		case "tag-key":
			_, hit = l.tags()[v]
		default:
			value, ok := l.tags()[strings.TrimPrefix(f.key, "tag:")]
			hit = ok && value == v
		}
		if hit {
			return true
		}
	}
	return false
}

func ownedBy(l *listed, owner string) bool {
	switch owner {
	case "All":
		return true
	case "Self", "Private":
		return l.made != nil
	case "Public":
		return l.builtin != nil || l.shared()
	case "Amazon":
		return l.builtin != nil && l.builtin.Owner() == "Amazon"
	}
	return false
}

func (d documentDoor) listDocuments(
	ctx context.Context, c *api.Call, in *listDocumentsRequest,
) (*listDocumentsAnswer, error) {
	var v awsproto.Constraints
	limit := pageSize(&v, in.MaxResults, maxDocumentPage)
	v.Count("filters", len(in.Filters), 0, 6)
	v.Count("documentFilterList", len(in.DocumentFilterList), 0, 6)
	var filters []documentFilter
	for _, f := range in.DocumentFilterList {
		v.Enum("documentFilterList.member.key", f.Key, "Name", "Owner", "PlatformTypes", "DocumentType")
		filters = append(filters, documentFilter{f.Key, []string{f.Value}})
	}
	for _, f := range in.Filters {
		v.Count("filters.member.values", len(f.Values), 0, 100)
		filters = append(filters, documentFilter{f.Key, f.Values})
	}
	if err := v.Err(); err != nil {
		return nil, err
	}
	for _, f := range filters {
		if err := f.check(); err != nil {
			return nil, err
		}
	}
	if err := c.Authorize(ctx, "ssm:ListDocuments", "*"); err != nil {
		return nil, err
	}
	all, err := d.listed(ctx, filters)
	if err != nil {
		return nil, err
	}
	all, next, err := page(all, func(l *listed) string { return l.name }, in.NextToken, limit, maxDocumentPage)
	if err != nil {
		return nil, err
	}
	out := &listDocumentsAnswer{DocumentIdentifiers: []documentIdentifier{}, NextToken: next}
	for _, l := range all {
		i, err := d.identify(ctx, l)
		if err != nil {
			return nil, err
		}
		out.DocumentIdentifiers = append(out.DocumentIdentifiers, *i)
	}
	return out, nil
}

// listed returns the documents that pass every filter, sorted by name.
func (d documentDoor) listed(ctx context.Context, filters []documentFilter) ([]*listed, error) {
	made, err := d.Documents.Documents(ctx)
	if err != nil {
		return nil, err
	}
	var all []*listed
	for _, doc := range made {
		all = append(all, &listed{name: doc.Name, made: doc})
	}
	for _, b := range ssmdoc.Builtins() {
		all = append(all, &listed{name: b.Name, builtin: b})
	}
	slices.SortFunc(all, func(a, b *listed) int { return strings.Compare(a.name, b.name) })
	for _, f := range filters {
		var some []*listed
		for _, l := range all {
			hit := !f.needsText() && f.matches(l)
			if f.needsText() {
				i, err := d.identify(ctx, l)
				if err != nil {
					return nil, err
				}
				hit = slices.ContainsFunc(f.values, func(v string) bool { return slices.Contains(i.PlatformTypes, v) })
			}
			if hit {
				some = append(some, l)
			}
		}
		all = some
	}
	return all, nil
}

// identify returns a document's list entry, which describes its default version.
func (d documentDoor) identify(ctx context.Context, l *listed) (*documentIdentifier, error) {
	var desc documentDescription
	if l.builtin != nil {
		desc = d.describeBuiltin(l.builtin)
	} else {
		s, err := d.Documents.Find(ctx, l.name, "", "")
		if err != nil {
			return nil, documentError(err)
		}
		desc = d.describeSaved(s)
	}
	return &documentIdentifier{
		Name: desc.Name, CreatedDate: desc.CreatedDate, DisplayName: desc.DisplayName, Owner: desc.Owner,
		VersionName:   desc.VersionName,
		PlatformTypes: desc.PlatformTypes, DocumentVersion: desc.DocumentVersion, DocumentType: desc.DocumentType,
		SchemaVersion: desc.SchemaVersion, DocumentFormat: desc.DocumentFormat, TargetType: desc.TargetType, Tags: desc.Tags,
	}, nil
}
