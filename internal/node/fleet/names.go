package fleet

import (
	"context"
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

// nameTag is the tag with a node's name, as in AWS.
const nameTag = "Name"

// Resolve returns the node that target selects: an ID, tag:KEY=VALUE, or a name. A name that
// administrators gave takes precedence over names that machines report: the tag Name first,
// then the name from the activation, then the computer name. If several nodes have equal
// precedence, the error has CodeConflict.
func (f *Fleet) Resolve(ctx context.Context, target string) (*sekisho.Node, error) {
	if id.ValidNode(target) {
		return f.Node(ctx, sekisho.NodeID(target))
	}
	ways := []func(n *sekisho.Node) bool{
		func(n *sekisho.Node) bool { return n.Tags[nameTag] == target },
		func(n *sekisho.Node) bool { return n.Name == target },
		func(n *sekisho.Node) bool { return n.ComputerName == target },
	}
	if tag, ok := strings.CutPrefix(target, "tag:"); ok {
		key, value, ok := strings.Cut(tag, "=")
		if !ok || key == "" {
			return nil, sekisho.Errorf(
				sekisho.CodeInvalid,
				"The target %q is not of the form tag:KEY=VALUE.",
				safetext.Line(target, maxFact),
			)
		}
		ways = []func(n *sekisho.Node) bool{func(n *sekisho.Node) bool {
			got, ok := n.Tags[key]
			return ok && got == value
		}}
	} else if target == "" {
		return nil, sekisho.Errorf(sekisho.CodeInvalid, "The target is empty.")
	}
	for _, way := range ways {
		found, _, err := f.Page(ctx, "", 2, way)
		switch {
		case err != nil:
			return nil, err
		case len(found) == 1:
			return found[0], nil
		case len(found) > 1:
			return nil, sekisho.Errorf(sekisho.CodeConflict, "More than one node matches %q, among them %s and %s.",
				safetext.Line(target, maxFact), found[0].ID, found[1].ID).WithHint("Use the node's ID.")
		}
	}
	return nil, sekisho.Errorf(sekisho.CodeNotFound, "No node matches %q.", safetext.Line(target, maxFact))
}
