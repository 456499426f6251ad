package ec2

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"sekisho"
	"sekisho/internal/api"
	"sekisho/internal/wire/awsproto"
)

type describeInstancesRequest struct {
	tried
	paging
	InstanceID []string `query:"InstanceId"`
	Filter     []filter
}

type state struct {
	Code int    `xml:"code"`
	Name string `xml:"name"`
}

type tag struct {
	Key   string `xml:"key"`
	Value string `xml:"value"`
}

type placement struct {
	AvailabilityZone string `xml:"availabilityZone"`
	GroupName        string `xml:"groupName"`
	Tenancy          string `xml:"tenancy"`
}

type profile struct {
	Arn string `xml:"arn"`
	ID  string `xml:"id"`
}

type instance struct {
	InstanceID         string         `xml:"instanceId"`
	Architecture       string         `xml:"architecture,omitempty"`
	InstanceState      state          `xml:"instanceState"`
	PrivateDNSName     string         `xml:"privateDnsName"`
	LaunchTime         awsproto.Epoch `xml:"launchTime"`
	Placement          placement      `xml:"placement"`
	Platform           string         `xml:"platform,omitempty"`
	PlatformDetails    string         `xml:"platformDetails"`
	PrivateIPAddress   string         `xml:"privateIpAddress,omitempty"`
	IamInstanceProfile *profile       `xml:"iamInstanceProfile,omitempty"`
	TagSet             set[tag]       `xml:"tagSet"`
}

type reservation struct {
	ReservationID string        `xml:"reservationId"`
	OwnerID       string        `xml:"ownerId"`
	GroupSet      set[struct{}] `xml:"groupSet"`
	InstancesSet  set[instance] `xml:"instancesSet"`
}

type describeInstancesAnswer struct {
	ReservationSet set[reservation] `xml:"reservationSet"`
	NextToken      string           `xml:"nextToken,omitempty"`
}

// codeRunning is the code of the state running.
const codeRunning = 16

// stateOf returns a node's state. A machine whose agent has been silent for long may be stopped;
// the server cannot know.
func (d *door) stateOf(n *sekisho.Node) state {
	if d.Fleet.HeardRecently(n) {
		return state{codeRunning, "running"}
	}
	return state{80, "stopped"}
}

func platformDetails(n *sekisho.Node) string {
	switch n.PlatformType {
	case "Windows":
		return "Windows"
	case "MacOS":
		return "macOS"
	}
	return "Linux/UNIX"
}

func privateIP(n *sekisho.Node) string {
	if a, err := netip.ParseAddr(n.IPAddress); err != nil || !a.Is4() {
		return ""
	}
	return n.IPAddress
}

// reservationOf returns the ID of a node's reservation: each node has its own.
func reservationOf(n *sekisho.Node) string {
	sum := sha256.Sum256([]byte("reservation " + n.ID))
	return "r-" + hex.EncodeToString(sum[:])[:17]
}

func tagSet(tags map[string]string) set[tag] {
	var out set[tag]
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		out.Item = append(out.Item, tag{k, tags[k]})
	}
	return out
}

func (d *door) instance(n *sekisho.Node) instance {
	out := instance{
		InstanceID: string(
			n.ID,
		), Architecture: n.Architecture, InstanceState: d.stateOf(n), PrivateDNSName: n.ComputerName,
		LaunchTime: awsproto.NewEpoch(n.RegisteredAt),
		Placement:  placement{AvailabilityZone: d.zone(), Tenancy: "default"}, PlatformDetails: platformDetails(n),
		PrivateIPAddress: privateIP(n), TagSet: tagSet(n.Tags),
	}
	if n.PlatformType == "Windows" {
		out.Platform = "windows"
	}
	if n.Profile != nil {
		out.IamInstanceProfile = &profile{n.Profile.ARN, n.Profile.ID}
	}
	return out
}

// attribute returns the values that a filter of DescribeInstances compares.
func (d *door) attribute(n *sekisho.Node, name string) ([]string, bool) {
	if n == nil {
		n = &sekisho.Node{}
	}
	one := func(s string) ([]string, bool) {
		if s == "" {
			return nil, true
		}
		return []string{s}, true
	}
	switch name {
	case "instance-id":
		return one(string(n.ID))
	case "instance-state-name":
		return one(d.stateOf(n).Name)
	case "instance-state-code":
		return one(strconv.Itoa(d.stateOf(n).Code))
	case "private-ip-address", "network-interface.addresses.private-ip-address":
		return one(privateIP(n))
	case "private-dns-name":
		return one(n.ComputerName)
	case "architecture":
		return one(n.Architecture)
	case "availability-zone":
		return one(d.zone())
	case "launch-time":
		text, err := awsproto.NewEpoch(n.RegisteredAt).MarshalText()
		return []string{string(text)}, err == nil
	case "owner-id":
		return one(d.Account)
	case "reservation-id":
		return one(reservationOf(n))
	case "platform-details":
		return one(platformDetails(n))
	case "platform":
		if n.PlatformType == "Windows" {
			return one("windows")
		}
		return nil, true
	case "iam-instance-profile.arn", "iam-instance-profile.id":
		switch {
		case n.Profile == nil:
			return nil, true
		case strings.HasSuffix(name, ".arn"):
			return one(n.Profile.ARN)
		}
		return one(n.Profile.ID)
	case "tag-key":
		return slices.Collect(maps.Keys(n.Tags)), true
	}
	if key, ok := strings.CutPrefix(name, "tag:"); ok && key != "" {
		if v, ok := n.Tags[key]; ok {
			return []string{v}, true
		}
		return nil, true
	}
	return nil, false
}

func (d *door) describeInstances(
	ctx context.Context,
	c *api.Call,
	in *describeInstancesRequest,
) (*describeInstancesAnswer, error) {
	if err := everything(ctx, c); err != nil {
		return nil, err
	}
	match, err := matcher(in.Filter, d.attribute)
	if err != nil {
		return nil, err
	}
	all, next, err := d.nodePage(ctx, in.InstanceID, in.paging, match)
	if err != nil {
		return nil, err
	}
	out := &describeInstancesAnswer{NextToken: next}
	for _, n := range all {
		out.ReservationSet.Item = append(out.ReservationSet.Item, reservation{
			ReservationID: reservationOf(n), OwnerID: d.Account, InstancesSet: set[instance]{[]instance{d.instance(n)}},
		})
	}
	return out, in.done()
}

type describeStatusRequest struct {
	tried
	paging
	InstanceID          []string `query:"InstanceId"`
	Filter              []filter
	IncludeAllInstances bool
}

type statusDetail struct {
	Name   string `xml:"name"`
	Status string `xml:"status"`
}

type statusSummary struct {
	Details set[statusDetail] `xml:"details"`
	Status  string            `xml:"status"`
}

type instanceStatus struct {
	AvailabilityZone string        `xml:"availabilityZone"`
	InstanceID       string        `xml:"instanceId"`
	InstanceState    state         `xml:"instanceState"`
	InstanceStatus   statusSummary `xml:"instanceStatus"`
	SystemStatus     statusSummary `xml:"systemStatus"`
}

type describeStatusAnswer struct {
	InstanceStatusSet set[instanceStatus] `xml:"instanceStatusSet"`
	NextToken         string              `xml:"nextToken,omitempty"`
}

// health returns the status of a running node: whether sessions can be started on it.
func (d *door) health(n *sekisho.Node) statusSummary {
	switch {
	case d.stateOf(n).Code != codeRunning:
		return statusSummary{Status: "not-applicable"}
	case d.Fleet.IsConnected(n.ID):
		return statusSummary{set[statusDetail]{[]statusDetail{{"reachability", "passed"}}}, "ok"}
	}
	return statusSummary{set[statusDetail]{[]statusDetail{{"reachability", "failed"}}}, "impaired"}
}

func (d *door) statusAttribute(n *sekisho.Node, name string) ([]string, bool) {
	if n == nil {
		n = &sekisho.Node{}
	}
	switch name {
	case "instance-status.status", "system-status.status":
		return []string{d.health(n).Status}, true
	case "availability-zone", "instance-state-code", "instance-state-name":
		return d.attribute(n, name)
	}
	return nil, false
}

func (d *door) describeInstanceStatus(
	ctx context.Context,
	c *api.Call,
	in *describeStatusRequest,
) (*describeStatusAnswer, error) {
	if err := everything(ctx, c); err != nil {
		return nil, err
	}
	passes, err := matcher(in.Filter, d.statusAttribute)
	if err != nil {
		return nil, err
	}
	all, next, err := d.nodePage(ctx, in.InstanceID, in.paging, func(n *sekisho.Node) bool {
		return (in.IncludeAllInstances || d.stateOf(n).Code == codeRunning) && passes(n)
	})
	if err != nil {
		return nil, err
	}
	out := &describeStatusAnswer{NextToken: next}
	for _, n := range all {
		health := d.health(n)
		out.InstanceStatusSet.Item = append(out.InstanceStatusSet.Item, instanceStatus{
			AvailabilityZone: d.zone(), InstanceID: string(n.ID), InstanceState: d.stateOf(n), InstanceStatus: health,
			SystemStatus: health,
		})
	}
	return out, in.done()
}
