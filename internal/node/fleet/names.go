package fleet

import (
	"context"
	"slices"
	"strings"
	"unicode"

	"sekisho"
	"sekisho/internal/safetext"
	"sekisho/internal/wire/id"
)

// hostName returns a safe form of the name that a machine reports for itself. Because nodes choose
// these names, names in the form of a node ID are refused, and characters that are patterns,
// separators or quotes in files and command lines become hyphens.
func hostName(reported string) string {
	name := strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) || r == '.' || r == '-' || r == '_' {
			return r
		}
		return '-'
	}, safetext.Line(reported, maxFact))
	if name = strings.TrimLeft(name, "-."); id.ValidNode(strings.ToLower(name)) {
		return ""
	}
	return name
}

// DefaultNameTag is the tag that names a node unless the account has chosen another.
const DefaultNameTag = "Hostname"

// commonNameTag is the tag that names resources in AWS. It is the second choice.
const commonNameTag = "Name"

// maxName is the longest name that is shown, in bytes.
const maxName = 256

// Names knows the account's choice of the tag that names nodes.
type Names struct {
	tag func(ctx context.Context) (string, error)
}

// NewNames returns the names of an account. tag returns the tag that names nodes; nil selects
// DefaultNameTag.
func NewNames(tag func(ctx context.Context) (string, error)) *Names { return &Names{tag} }

// Naming returns the rule for names that is in effect now.
func (x *Names) Naming(ctx context.Context) (Naming, error) {
	if x == nil || x.tag == nil {
		return Naming{}, nil
	}
	tag, err := x.tag(ctx)
	return Naming{tag}, err
}

// Of returns the display name of a node, by the default rule if the account's cannot be read.
func (x *Names) Of(ctx context.Context, n *sekisho.Node) string {
	rule, err := x.Naming(ctx)
	if err != nil {
		rule = Naming{}
	}
	return rule.Display(n)
}

// Naming is a rule for the names of nodes. The zero value uses DefaultNameTag.
type Naming struct{ tag string }

// Given returns the names that administrators gave a node, without duplicates, the one to show
// first: the account's tag, the tag Name, and the name in the node's activation.
func (r Naming) Given(n *sekisho.Node) []string {
	tag := r.tag
	if tag == "" {
		tag = DefaultNameTag
	}
	var names []string
	for _, name := range []string{n.Tags[tag], n.Tags[commonNameTag], n.Name} {
		name = strings.TrimSpace(safetext.Line(name, maxName))
		if name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// Display returns the one name under which a node is shown everywhere: the first name that an
// administrator gave it, or else the name that the machine reports. It is empty if there is none.
func (r Naming) Display(n *sekisho.Node) string {
	if given := r.Given(n); len(given) > 0 {
		return given[0]
	}
	return n.ComputerName
}

// Select returns the nodes that a person's target selects: the node with that ID, the nodes with a
// tag KEY=VALUE, or the nodes with a name. Names that administrators gave take precedence over those
// that machines report, so that no machine can pass as another.
func (r Naming) Select(nodes []*sekisho.Node, target string) []*sekisho.Node {
	key, value, isTag := strings.Cut(strings.TrimPrefix(target, "tag:"), "=")
	var byID, tagged, given, reported []*sekisho.Node
	for _, n := range nodes {
		tag, has := n.Tags[key]
		switch {
		case string(n.ID) == target:
			byID = append(byID, n)
		case isTag && has && tag == value:
			tagged = append(tagged, n)
		case slices.Contains(r.Given(n), target):
			given = append(given, n)
		case n.ComputerName == target && target != "":
			reported = append(reported, n)
		}
	}
	for _, found := range [][]*sekisho.Node{byID, tagged, given} {
		if len(found) > 0 {
			return found
		}
	}
	return reported
}
