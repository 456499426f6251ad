package client

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"sekisho"
)

// nodeID is what needs no looking up.
var nodeID = regexp.MustCompile(`^(mi|i)-[0-9a-f]{1,17}$`)

// maxCandidates is how many nodes an error lists.
const maxCandidates = 10

// Resolve returns the ID of the node that target means: an ID, a name that
// only one node has, or tag:KEY=VALUE that selects only one. It looks among
// the nodes that the caller may list; whether the caller may open a session
// there is for the server to say, about the ID.
func (c *Client) Resolve(ctx context.Context, target string) (string, error) {
	if nodeID.MatchString(target) {
		return target, nil
	}
	var found []Node
	if tag, ok := strings.CutPrefix(target, "tag:"); ok {
		key, value, ok := strings.Cut(tag, "=")
		if !ok || key == "" {
			return "", sekisho.Errorf(sekisho.CodeInvalid, "The target %q is not tag:KEY=VALUE.", Printable(target))
		}
		var err error
		if found, err = c.Nodes(ctx, NodeFilter{Key: "tag:" + key, Values: []string{value}}); err != nil {
			return "", err
		}
	} else {
		if target == "" {
			return "", sekisho.Errorf(sekisho.CodeInvalid, "No target is named.")
		}
		all, err := c.Nodes(ctx)
		if err != nil {
			return "", err
		}
		for _, n := range all {
			if n.InstanceID == target || n.Name == target || n.ComputerName == target {
				found = append(found, n)
			}
		}
	}
	switch len(found) {
	case 0:
		return "", sekisho.Errorf(sekisho.CodeNotFound, "No node that you may list is %s.", quoted(target)).
			WithHint("sekisho nodes lists them. An ID (mi-…) needs no list.")
	case 1:
		return found[0].InstanceID, nil
	}
	var list strings.Builder
	for i, n := range found {
		if i == maxCandidates {
			fmt.Fprintf(&list, "\n  … and %d more", len(found)-i)
			break
		}
		fmt.Fprintf(&list, "\n  %s  %s  %s", Printable(n.InstanceID), Printable(first(n.Name, n.ComputerName, "-")), Printable(n.PingStatus))
	}
	return "", sekisho.Errorf(sekisho.CodeConflict, "%d nodes are %s; name one by its ID:%s", len(found), quoted(target), list.String())
}

func quoted(s string) string { return `"` + Printable(s) + `"` }
