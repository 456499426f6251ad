// Package ec2 is the EC2 door: it presents managed nodes as instances, for programs that look them
// up and tag them with EC2's API. It does not start or stop machines.
//
// Every node appears, whatever the prefix of its ID. Policies name a node i-… as
// arn:aws:ec2:REGION:ACCOUNT:instance/ID and a node mi-… as
// arn:aws:ssm:REGION:ACCOUNT:managed-instance/ID, here as everywhere.
package ec2

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"sort"
	"strings"

	"sekisho"
	"sekisho/internal/api"
	"sekisho/internal/iam/authz"
	"sekisho/internal/iam/identity"
	"sekisho/internal/node/fleet"
	"sekisho/internal/wire/awsproto"
	"sekisho/internal/wire/id"
)

// Config is the configuration of the door.
type Config struct {
	Fleet    *fleet.Fleet
	Profiles *identity.InstanceProfiles
	Region   string
	Account  string
}

type door struct{ Config }

// New returns the door.
func New(cfg Config) *api.Door {
	d := &door{cfg}
	return &api.Door{
		Service: "ec2", Protocol: awsproto.EC2, XMLNS: "http://ec2.amazonaws.com/doc/2016-11-15/", Version: "2016-11-15",
		Fault: worded,
		Operations: map[string]api.Operation{
			"DescribeInstances":         api.Read(d.describeInstances),
			"DescribeInstanceStatus":    api.Read(d.describeInstanceStatus),
			"DescribeTags":              api.Read(d.describeTags),
			"CreateTags":                api.Write(d.createTags),
			"DeleteTags":                api.Write(d.deleteTags),
			"DescribeRegions":           api.Read(d.describeRegions),
			"DescribeAvailabilityZones": api.Read(d.describeAvailabilityZones),
			"DescribeAccountAttributes": api.Read(d.describeAccountAttributes),

			"AssociateIamInstanceProfile":            api.Write(d.associateProfile),
			"DescribeIamInstanceProfileAssociations": api.Read(d.describeAssociations),
			"DisassociateIamInstanceProfile":         api.Write(d.disassociateProfile),
			"ReplaceIamInstanceProfileAssociation":   api.Write(d.replaceAssociation),
		},
	}
}

// worded prefixes refusals with EC2's sentence.
func worded(err error) error {
	if e, ok := errors.AsType[*sekisho.Error](err); ok && e.Code == sekisho.CodeDenied {
		return sekisho.Errorf(sekisho.CodeDenied, "You are not authorized to perform this operation. %s", e)
	}
	return err
}

// action returns the policy action of the call.
func action(c *api.Call) string { return "ec2:" + c.Operation }

// everything authorizes a call without a specific resource.
func everything(ctx context.Context, c *api.Call) error { return c.Authorize(ctx, action(c), "*") }

// arn returns the ARN of a node in policies.
func (d *door) arn(node string) string {
	if strings.HasPrefix(node, "i-") {
		return "arn:aws:ec2:" + d.Region + ":" + d.Account + ":instance/" + node
	}
	return "arn:aws:ssm:" + d.Region + ":" + d.Account + ":managed-instance/" + node
}

// resourceKeys returns the condition keys of a node.
func (d *door) resourceKeys(n *sekisho.Node) []authz.Key {
	keys := []authz.Key{
		authz.One(
			"ec2:InstanceID",
			string(n.ID),
		), authz.One("ec2:Region", d.Region), authz.One("ec2:AvailabilityZone", d.zone()),
	}
	for k, v := range n.Tags {
		keys = append(keys, authz.One("aws:ResourceTag/"+k, v), authz.One("ec2:ResourceTag/"+k, v))
	}
	if n.Profile != nil {
		keys = append(keys, authz.One("ec2:InstanceProfile", n.Profile.ARN))
	}
	return keys
}

// onNode authorizes the call on the node that a request names, and returns the node.
func (d *door) onNode(ctx context.Context, c *api.Call, node string, keys ...authz.Key) (*sekisho.Node, error) {
	if !id.ValidNode(node) {
		return nil, malformed(node)
	}
	n, err := d.Fleet.Node(ctx, sekisho.NodeID(node))
	if err != nil && !sekisho.IsNotFound(err) {
		return nil, err
	}
	if n != nil {
		keys = append(keys, d.resourceKeys(n)...)
	}
	if err := c.Authorize(ctx, action(c), d.arn(node), keys...); err != nil {
		return nil, err
	}
	if n == nil {
		return nil, noInstance(node)
	}
	return n, nil
}

func malformed(node string) error {
	if len(node) > 64 {
		node = node[:64] + "…"
	}
	return awsproto.SenderError("InvalidInstanceID.Malformed", "Invalid id: %q", node)
}

func noInstance(nodes ...string) error {
	if len(nodes) == 1 {
		return awsproto.SenderError("InvalidInstanceID.NotFound", "The instance ID '%s' does not exist", nodes[0])
	}
	return awsproto.SenderError(
		"InvalidInstanceID.NotFound",
		"The instance IDs '%s' do not exist",
		strings.Join(nodes, ", "),
	)
}

// zone returns the name of the only availability zone.
func (d *door) zone() string { return d.Region + "a" }

// tried has the option DryRun, which every request can have.
type tried struct{ DryRun bool }

func (t tried) done() error {
	if !t.DryRun {
		return nil
	}
	return &awsproto.Error{
		Code:    "DryRunOperation",
		Message: "Request would have succeeded, but DryRun flag is set.",
		Status:  http.StatusPreconditionFailed,
		Sender:  true,
	}
}

// set is a list on the wire. An empty list is written as well, because Python clients index the
// member without checking.
type set[T any] struct {
	Item []T `xml:"item"`
}

// paging has the paging parameters of most listings.
type paging struct {
	MaxResults *int64
	NextToken  string
}

// read returns the page size and the place after which the page begins.
func (in paging) read() (most int, after string, err error) {
	most = 1000
	if in.MaxResults != nil {
		if *in.MaxResults < 5 || *in.MaxResults > 1000 {
			return 0, "", awsproto.SenderError(
				"InvalidParameterValue",
				"Value ( %d ) for parameter maxResults is invalid. Expecting a value between 5 and 1000.",
				*in.MaxResults,
			)
		}
		most = int(*in.MaxResults)
	}
	b, err := base64.RawURLEncoding.DecodeString(in.NextToken)
	if err != nil || len(b) > 1024 {
		return 0, "", awsproto.SenderError("InvalidNextToken",
			"This operation did not return the NextToken. Repeat the request without it.")
	}
	return most, string(b), nil
}

// token returns the NextToken after a page that ends at place.
func token(place string) string { return base64.RawURLEncoding.EncodeToString([]byte(place)) }

// page returns one page of a list that is sorted by place, and the next token.
func page[T any](all []T, place func(T) string, in paging) ([]T, string, error) {
	most, after, err := in.read()
	if err != nil {
		return nil, "", err
	}
	if after != "" {
		all = all[sort.Search(len(all), func(i int) bool { return place(all[i]) > after }):]
	}
	if len(all) <= most {
		return all, "", nil
	}
	all = all[:most]
	return all, token(place(all[most-1])), nil
}

// nodePage returns a page of the nodes that pass the filters: of the nodes that a request names,
// each of which must exist, or of all nodes.
func (d *door) nodePage(
	ctx context.Context, ids []string, in paging, match func(n *sekisho.Node) bool,
) (nodes []*sekisho.Node, next string, err error) {
	if len(ids) > 0 {
		if in.MaxResults != nil {
			return nil, "", awsproto.SenderError("InvalidParameterCombination",
				"The parameter instancesSet cannot be used with the parameter maxResults")
		}
		named, err := d.nodes(ctx, ids)
		if err != nil {
			return nil, "", err
		}
		named = slices.DeleteFunc(named, func(n *sekisho.Node) bool { return !match(n) })
		return page(named, func(n *sekisho.Node) string { return string(n.ID) }, in)
	}
	most, after, err := in.read()
	if err != nil {
		return nil, "", err
	}
	nodes, more, err := d.Fleet.Page(ctx, sekisho.NodeID(after), most, match)
	if err != nil || !more {
		return nodes, "", err
	}
	return nodes, token(string(nodes[len(nodes)-1].ID)), nil
}

// maxIDs bounds the IDs of one request.
const maxIDs = 1000

// nodes returns the nodes that a request names, each of which must exist.
func (d *door) nodes(ctx context.Context, ids []string) ([]*sekisho.Node, error) {
	if len(ids) > maxIDs {
		return nil, awsproto.SenderError("InvalidParameterValue", "A request can name at most %d instances.", maxIDs)
	}
	for _, node := range ids {
		if !id.ValidNode(node) {
			return nil, malformed(node)
		}
	}
	all, err := d.Fleet.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	wanted := make(map[string]bool, len(ids))
	for _, node := range ids {
		wanted[node] = true
	}
	named := slices.DeleteFunc(all, func(n *sekisho.Node) bool {
		if !wanted[string(n.ID)] {
			return true
		}
		delete(wanted, string(n.ID))
		return false
	})
	if missing := slices.DeleteFunc(slices.Clone(ids), func(node string) bool { return !wanted[node] }); len(
		missing,
	) > 0 {
		return nil, noInstance(missing...)
	}
	return named, nil
}
