package client

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"sekisho"
)

// nodeID matches node IDs, which need no lookup.
var nodeID = regexp.MustCompile(`^(mi|i)-[0-9a-f]{1,17}$`)

// idPrefix matches what looks like a node ID. Such text is never a name: a machine must not be able
// to pass as another node by reporting its ID, or a similar one, as its name.
var idPrefix = regexp.MustCompile(`^(?i:mi|i)-`)

// tag returns the value of a tag of n.
func (n *Node) tag(key string) (value string, ok bool) {
	for _, t := range n.Tags {
		if t.Key == key {
			return t.Value, true
		}
	}
	return "", false
}

// GivenNames returns the names that administrators gave the node, the display name first. The
// server applies the account's rule; other servers report only the name in the activation.
func (n *Node) GivenNames() []string {
	if len(n.Given) == 0 && n.NodeName == "" && n.Name != "" {
		return []string{n.Name}
	}
	return n.Given
}

// DisplayName returns the name to show for the node. It may be one that the
// machine reports.
func (n *Node) DisplayName() string { return first(n.NodeName, n.Name, n.ComputerName) }

// maxCandidates is the number of nodes that an error lists.
const maxCandidates = 10

// Resolve returns the ID of the node that target selects: an ID, a name of exactly one node, or tag:KEY=VALUE that
// matches exactly one. Names that administrators gave (tags, then the activation's name) take precedence over names
// that machines report. Resolve searches the nodes that the caller may list or else those on which the caller can start
// sessions; policies are evaluated for the ID.
func (c *Client) Resolve(ctx context.Context, target string) (string, error) {
	if nodeID.MatchString(target) {
		return target, nil
	}
	found, err := c.lookUp(ctx, target)
	if refused, is := errors.AsType[*APIError](err); is && refused.AccessDenied() {
		// A caller who cannot list nodes can still name those in reach.
		if reach, reachErr := c.nodesInReach(ctx, target); reachErr == nil {
			found, err = reach, nil
		}
	}
	if err != nil {
		return "", err
	}
	switch len(found) {
	case 0:
		return "", sekisho.Errorf(sekisho.CodeNotFound, "No node named %s among those you may list.", quoted(target)).
			WithHint("List them with: sekisho nodes. An ID (mi-…) needs no permission to list.")
	case 1:
		return found[0].InstanceID, nil
	}
	var list strings.Builder
	for i, n := range found {
		if i == maxCandidates {
			fmt.Fprintf(&list, "\n  … and %d more", len(found)-i)
			break
		}
		fmt.Fprintf(
			&list,
			"\n  %s  %s  %s",
			Printable(n.InstanceID),
			Printable(first(n.DisplayName(), "-")),
			Printable(n.PingStatus),
		)
	}
	return "", sekisho.Errorf(
		sekisho.CodeConflict,
		"%d nodes match %s. Use the ID of one:%s",
		len(found),
		quoted(target),
		list.String(),
	)
}

// lookUp returns the nodes that a name or tag selects.
func (c *Client) lookUp(ctx context.Context, target string) ([]Node, error) {
	if tag, ok := strings.CutPrefix(target, "tag:"); ok {
		key, value, ok := strings.Cut(tag, "=")
		if !ok || key == "" {
			return nil, sekisho.Errorf(
				sekisho.CodeInvalid,
				"The target %s is not of the form tag:KEY=VALUE.",
				quoted(target),
			)
		}
		if value != "" {
			return c.Nodes(ctx, NodeFilter{Key: "tag:" + key, Values: []string{value}})
		}
		// A filter with an empty value could also select nodes without the tag.
		all, err := c.Nodes(ctx)
		return slices.DeleteFunc(all, func(n Node) bool {
			value, ok := n.tag(key)
			return !ok || value != ""
		}), err
	}
	switch {
	case target == "":
		return nil, sekisho.Errorf(sekisho.CodeInvalid, "The target is empty.").
			WithHint("Name a node: sekisho nodes lists them.")
	case idPrefix.MatchString(target):
		return nil, sekisho.Errorf(sekisho.CodeInvalid, "%s is not a node ID.", quoted(target)).
			WithHint("IDs are mi- or i- and up to 17 hexadecimal digits.")
	}
	all, err := c.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	var given, reported []Node
	for _, n := range all {
		switch {
		case slices.Contains(n.GivenNames(), target):
			given = append(given, n)
		case n.ComputerName == target:
			reported = append(reported, n)
		}
	}
	if len(given) == 0 {
		return reported, nil
	}
	return given, nil
}

func quoted(s string) string { return `"` + Printable(s) + `"` }
